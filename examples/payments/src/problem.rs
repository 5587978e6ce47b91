//! Answers of this API that say what was wrong: `application/problem+json` of RFC 9457, like those
//! of the guard.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::ledger::LedgerError;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<&'static str>,
}

impl Problem {
    /// By its status a 4xx of a handler is final: recorded, and replayed to every retry. That is right where the
    /// same request can never succeed, and keeps a client from getting two different answers.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unknown_payment() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no payment with this id")
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, rejection.body_text())
            }
            _ => Self::bad_request(rejection.body_text()),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::UnknownPayment => Self::unknown_payment(),
            LedgerError::TooMuch { .. } => Self::bad_request(error.to_string()),
            // By its status a 503 is not recorded: the retry is another attempt.
            LedgerError::Database(_) | LedgerError::Slow | LedgerError::Record(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the ledger failed");
                Self {
                    retry_after: Some("1"),
                    ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(Members {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown status"),
            status: self.status.as_u16(),
            detail: self.detail,
        });
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let retry_after = self.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds)]);
        (self.status, content_type, retry_after, body).into_response()
    }
}

/// `about:blank` says that the title is that of the status.
#[derive(Serialize)]
struct Members {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}
