//! Problem answers: `application/problem+json` of RFC 9457.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::refusal::{Refusal, Refused};

/// Why a request is answered by the guard rather than by its handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    KeyMissing,
    KeyInvalid(&'static str),
    BodyTooLarge,
    BodyUnreadable,
    RuntimeMissing,
    OperationMissing,
    StepRefused,
    /// And when to ask again, where that is known better than the refusal says.
    Refused(Refusal, Option<Duration>),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, None)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.refusal, refused.retry_after())
    }
}

/// The members of a problem answer.
#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    retryable: bool,
}

/// One row of the table of problems: what each code says.
#[derive(Clone, Copy)]
struct Row {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
    /// Whether the same request may be sent again unchanged and meet something else.
    retryable: bool,
}

const fn row(
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
) -> Row {
    Row { code, status, title, detail, retryable: false }
}

const fn retryable(row: Row) -> Row {
    Row { retryable: true, ..row }
}

impl Problem {
    pub(crate) fn code(self) -> &'static str {
        self.row().code
    }

    /// The answer. `docs_url` and the code make the `type`.
    pub(crate) fn response(self, docs_url: &str) -> Response<Bytes> {
        let row = self.row();
        let link = HeaderValue::try_from(format!("<{docs_url}>; rel=\"describedby\""));
        let members = Members {
            r#type: format!("{docs_url}#{}", row.code),
            title: row.title,
            status: row.status.as_u16(),
            detail: row.detail,
            code: row.code,
            retryable: row.retryable,
        };
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&members).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(link) = link {
            headers.insert(header::LINK, link);
        }
        if let Self::Refused(refusal, after) = self
            && let Some(after) = after.or_else(|| refusal.retry_after())
        {
            // Whole seconds, rounded up: a request that comes too early is refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }

    fn row(self) -> Row {
        match self {
            Self::KeyMissing => row(
                "key_missing",
                StatusCode::BAD_REQUEST,
                "Idempotency key is missing",
                "this operation requires an idempotency key; send a new unique one, and the same one with every retry",
            ),
            Self::KeyInvalid(detail) => {
                row("key_invalid", StatusCode::BAD_REQUEST, "Idempotency key is not valid", detail)
            }
            Self::BodyTooLarge => row(
                "body_too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request body is too large",
                "the request body is larger than this operation takes; nothing was executed",
            ),
            Self::BodyUnreadable => row(
                "body_unreadable",
                StatusCode::BAD_REQUEST,
                "Request body is not readable",
                "the request body ended before it was complete; nothing was executed",
            ),
            Self::RuntimeMissing => row(
                "runtime_missing",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Idempotency runtime is missing",
                "the handler was not run: add `.layer(Extension(Idempotency::new(store)))` to the router, or `runtime = …` to the attribute",
            ),
            Self::OperationMissing => row(
                "operation_missing",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Operation has no name",
                "the handler was not run: no route was matched, so add `operation = \"…\"` to the attribute",
            ),
            Self::StepRefused => retryable(row(
                "step_refused",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Step was refused",
                "a step of this operation did not run or was not saved; the steps before it are kept",
            )),
            Self::Refused(refusal, _) => refused(refusal),
        }
    }
}

fn refused(refusal: Refusal) -> Row {
    match refusal {
        Refusal::KeyReused => row(
            refusal.code(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "Idempotency key is already used",
            "this key belongs to a request with other content or from another caller; use a new key for a new operation. If credentials were refreshed in between, the service should set `scope`",
        ),
        Refusal::InProgress => retryable(row(
            refusal.code(),
            StatusCode::CONFLICT,
            "Request is in progress",
            "a request with this key is still running; ask again for its answer",
        )),
        Refusal::OutcomeUnknown => row(
            refusal.code(),
            StatusCode::CONFLICT,
            "Outcome is unknown",
            "an earlier attempt was cut off and may have had its effect; it is not repeated until somebody has decided",
        ),
        Refusal::NotReplayable => row(
            refusal.code(),
            StatusCode::CONFLICT,
            "Answer cannot be given again",
            "the request was executed and is not executed again, but its answer was not kept",
        ),
        Refusal::StoreUnavailable => retryable(row(
            refusal.code(),
            StatusCode::SERVICE_UNAVAILABLE,
            "Idempotency store is unavailable",
            "it is not known whether this request was executed; send it again with the same key",
        )),
        Refusal::StoreFull => retryable(row(
            refusal.code(),
            StatusCode::SERVICE_UNAVAILABLE,
            "Idempotency store is full",
            "the request was not executed; send it again with the same key",
        )),
        Refusal::RecordUnreadable => row(
            refusal.code(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "Stored answer is not readable",
            "the request was not executed: what is stored under this key cannot be read",
        ),
        Refusal::TooManyRunning => retryable(row(
            refusal.code(),
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many requests are running",
            "the request was not executed; send it again with the same key",
        )),
        Refusal::Draining => retryable(row(
            refusal.code(),
            StatusCode::SERVICE_UNAVAILABLE,
            "Service is shutting down",
            "the request was not executed; send it again with the same key",
        )),
        Refusal::HandlerPanicked => retryable(row(
            refusal.code(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "Handler failed",
            "the request that ran for this key failed; send it again with the same key",
        )),
        Refusal::NotCommitted => retryable(row(
            refusal.code(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "Outcome was not committed",
            "the transaction of this request was not committed, so it had no effect; send it again with the same key",
        )),
    }
}
