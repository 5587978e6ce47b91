//! Answers of this API that say what was wrong: `application/problem+json` of RFC 9457, like those
//! of the guard.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use idempotent_runtime::{DoNotRecord, RecordError};
use idempotent_sqlx::{outbox::OutboxError, sqlx};
use serde::Serialize;

use crate::startup::Chain;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Problem {
    Told {
        status: StatusCode,
        detail: String,
        recorded: bool,
    },
    /// What the guard says.
    Guard(RecordError),
}

impl Problem {
    /// By its status a 4xx is final: recorded, and replayed to every retry.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Told { status, detail: detail.into(), recorded: true }
    }

    pub(crate) fn unknown_order() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no order with this id")
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = match rejection {
            JsonRejection::MissingJsonContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, rejection.body_text())
    }
}

/// A 5xx says that nothing happened and is not recorded: a retry runs. Where it may have happened (a
/// commit without an answer), the guard asks the store before it lets this one out.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!("the database failed: {}", Chain(&error));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database gave no answer; send it again")
    }
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::Database(error) => error.into(),
            // The record of this key has expired, and the message of its order is still known.
            OutboxError::IdTaken(_) => Self::Told {
                status: StatusCode::CONFLICT,
                detail: "this key belongs to an older order; draw a new one for a new order".into(),
                recorded: false,
            },
            error => {
                tracing::error!("a message was not enqueued: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the order was not placed")
            }
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        Self::Guard(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, detail, recorded) = match self {
            Self::Guard(error) => return error.into_response(),
            Self::Told { status, detail, recorded } => (status, detail, recorded),
        };
        let body = Json(Members {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Unknown status"),
            status: status.as_u16(),
            detail,
        });
        let answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], body);
        if recorded { answer.into_response() } else { (DoNotRecord, answer).into_response() }
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
