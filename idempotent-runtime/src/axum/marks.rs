//! What a handler puts beside its answer to say what it is worth.

use std::convert::Infallible;

use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};

/// Makes an answer transient: it is given, not recorded, and a retry runs the handler again.
///
/// For answers that would be final by their status and that are wrong to keep, such as a `404` that
/// the next request may not get.
///
/// ```
/// use axum::response::IntoResponse;
/// use http::StatusCode;
/// use idempotent_runtime::DoNotRecord;
///
/// fn not_yet() -> impl IntoResponse {
///     (StatusCode::NOT_FOUND, DoNotRecord, "try again later")
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DoNotRecord;

/// Makes an answer transient, and says that nothing happened: the key is free, as if it had not been
/// used. A corrected request may have it, and is attempt 1.
///
/// The same holds without this mark for statuses that by their definition say that the request was not
/// applied and ask for another one (RFC 9110, RFC 6585, RFC 4918): 401, 407, 411, 412, 413, 415, 417,
/// 421, 423, 426, 428, 431; under `record = success` for every 4xx; and under `on_abandoned = halt`,
/// which otherwise takes every transient answer for a possible effect, for 408, 425 and 429.
///
/// Where a step of the operation was saved, the key is released instead, for the same request only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoEffect;

/// Lets an answer pass at once: nothing of its body is read ahead or kept. One that is final by its
/// status is recorded as executed before its first byte passes, and retries get `409 not_replayable`.
///
/// For streams that are not told by their content type. Those that are pass at once without it:
/// `text/event-stream`, `application/x-ndjson`, `application/jsonl`, `application/json-seq`,
/// `application/stream+json`, `multipart/x-mixed-replace`, and `application/grpc` with all of its kinds.
/// Any other body is read for [`capture_for`](crate::IdempotencyBuilder::capture_for) before it passes.
///
/// ```
/// use axum::{body::Body, response::IntoResponse};
/// use idempotent_runtime::PassThrough;
///
/// fn progress(lines: Body) -> impl IntoResponse {
///     (PassThrough, [("content-type", "text/plain")], lines)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PassThrough;

macro_rules! marks {
    ($($mark:ident),*) => {$(
        impl IntoResponseParts for $mark {
            type Error = Infallible;

            fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
                parts.extensions_mut().insert(self);
                Ok(parts)
            }
        }

        impl IntoResponse for $mark {
            fn into_response(self) -> Response {
                (self, ()).into_response()
            }
        }
    )*};
}
marks!(DoNotRecord, NoEffect, PassThrough);
