//! The problem answers of the guard, by code.
//!
//! All are `application/problem+json` of [RFC 9457] with the members `type` (this page and the
//! code), `title`, `status`, `detail`, `code` and `retryable`, and a
//! `Link: <this page>; rel="describedby"`. `retryable` says whether the same request, with the same
//! key, may be sent again and meet something else; then `Retry-After` says when, in seconds.
//! [`IdempotencyBuilder::docs_url`](crate::IdempotencyBuilder::docs_url) points them elsewhere.
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
//!
//! # key_missing
//!
//! `400`. The operation requires a key and got none. Draw a new unique key for a new operation, such
//! as a random UUID, and send the same one with every retry of it.
//!
//! # key_invalid
//!
//! `400`. The key is empty, longer than 255 characters, has characters outside of visible ASCII,
//! stands in more than one header line, or begins with a quote without being exactly one String of
//! RFC 8941.
//!
//! # key_reused
//!
//! `422`. The key belongs to another request: other content, another path, or another caller. Use a
//! new key. Where a service has no `scope`, the caller is told by its credentials, and refreshed
//! credentials look like another caller: the service should set `scope`.
//!
//! # in_progress
//!
//! `409`, retryable. A request with this key is still running and did not end within `wait`, or too
//! many duplicates are waiting for it.
//!
//! # outcome_unknown
//!
//! `409`. An earlier attempt was cut off and may have had its effect, and the operation is set to
//! `on_abandoned = halt`: somebody has to decide with
//! [`Idempotency::resolve`](crate::Idempotency::resolve).
//!
//! # not_replayable
//!
//! `409`. The request was executed and is not executed again, but its answer was a stream, an upgrade,
//! too large to keep, took too long to end, or broke off.
//!
//! # store_unavailable
//!
//! `503`, retryable. The store gave no answer, so it is not known whether the request was executed.
//!
//! # store_full
//!
//! `503`, retryable. The store has no room for another key. Nothing was executed.
//!
//! # too_many_running
//!
//! `503`, retryable. `max_running` handlers are running in this process. Nothing was executed.
//!
//! # draining
//!
//! `503`, retryable. The process is shutting down. Nothing was executed.
//!
//! # handler_panicked
//!
//! `500`, retryable. The request that this one waited for failed with a panic.
//!
//! # not_committed
//!
//! `500`, retryable. The handler recorded its answer in its own transaction, and the store says that
//! the transaction was not committed: there was no effect, whatever the handler returned.
//!
//! # step_refused
//!
//! `500`, retryable. A step of the handler did not run, or ran and could not be saved; see
//! [`StepError`](crate::StepError). The steps before it are kept.
//!
//! # record_unreadable
//!
//! `500`. What the store holds under this key is truncated, foreign or tampered with. Nothing was
//! executed; look at the key with [`Idempotency::inspect`](crate::Idempotency::inspect) and remove it
//! with [`Idempotency::forget`](crate::Idempotency::forget).
//!
//! # body_too_large
//!
//! `413`. The request body is larger than `max_request_bytes` or the handler's `DefaultBodyLimit`.
//! Nothing was executed.
//!
//! # body_unreadable
//!
//! `400`. The request body ended before it was complete. Nothing was executed.
//!
//! # runtime_missing
//!
//! `500`. The service forgot `.layer(Extension(Idempotency::new(store)))` or `runtime = …`. Nothing
//! was executed.
//!
//! # operation_missing
//!
//! `500`. The handler was reached without a matched route, so its attribute needs `operation = "…"`.
//! Nothing was executed.

#![allow(clippy::doc_markdown)] // the codes are headings, and so anchors
