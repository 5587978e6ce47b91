//! `Guarded<T>`: the last argument of a guarded handler.

use std::{error::Error, fmt, marker::PhantomData};

use axum::{
    RequestExt as _,
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::LengthLimitError;

use super::{
    answer::problem_response,
    kept::{Guard, Kept},
    late::{Extract, Late, With},
};
use crate::{
    http::{
        capture::{Captured, capture},
        problem::Problem,
    },
    idempotency::Idempotency,
    settings::defaults,
};

/// The last argument of a guarded handler. The attribute writes it; tests make one with
/// [`unguarded`](Self::unguarded).
///
/// It buffers the body under the handler's own `DefaultBodyLimit`, so that the body can be part of
/// the fingerprint, and hands the request on to `T` unchanged: before the guard begins, or, where `T`
/// only reads the body and no option speaks of it, after a record was looked for.
pub struct Guarded<T> {
    value: Late<T>,
    guard: Guard,
}

/// Says how axum extracts `T` inside a [`Guarded<T>`]: from the parts or from the whole request.
pub struct Via<M>(PhantomData<fn() -> M>);

impl<T> Guarded<T> {
    /// An argument outside of any request, to call a handler directly:
    /// `handler(Guarded::unguarded(Json(new))).await.direct()` runs its body and nothing else.
    pub fn unguarded(value: T) -> Self {
        Self { value: Late::taken(value), guard: Guard(None) }
    }

    /// The handler's own argument, and the guard.
    #[doc(hidden)]
    pub fn into_parts(self) -> (Late<T>, Guard) {
        (self.value, self.guard)
    }
}

impl<S, T, M> FromRequest<S, Via<M>> for Guarded<T>
where
    T: FromRequest<S, M>,
    S: Clone + Send + Sync + 'static,
    M: 'static,
{
    type Rejection = GuardedRejection;

    fn from_request(
        request: Request,
        state: &S,
    ) -> impl Future<Output = Result<Self, Self::Rejection>> + Send {
        let announced = request.body().size_hint().lower();
        let runtime = request.extensions().get::<Idempotency>().cloned();
        let (parts, body) = request.with_limited_body().into_parts();
        let mut kept = Box::new(Kept::new(parts, runtime));
        let due: Box<dyn Extract<T>> = Box::new(With::new(state.clone()));
        // A block and not an async function, so that its future holds the request once.
        async move {
            match buffer(body, announced, max_bytes(kept.runtime.as_ref())).await {
                Ok((body, trailers)) => {
                    kept.body = body;
                    kept.trailers = trailers.map(Box::new);
                    Ok(Self { value: Late::due(due), guard: Guard(Some(kept)) })
                }
                Err(problem) => {
                    let response = problem_response(problem, kept.runtime.as_ref());
                    Err(GuardedRejection(Box::new(response)))
                }
            }
        }
    }
}

fn max_bytes(runtime: Option<&Idempotency>) -> usize {
    runtime.map_or(defaults::MAX_REQUEST_BYTES, |runtime| runtime.settings().max_request_bytes)
}

/// `announced` is what the body was said to hold at least, before it was limited.
async fn buffer(
    body: Body,
    announced: u64,
    max: usize,
) -> Result<(Bytes, Option<HeaderMap>), Problem> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    // A limited body never announces more than its limit: one that announced more is refused unread.
    if announced > body.size_hint().lower().min(max as u64) {
        return Err(Problem::BodyTooLarge);
    }
    match capture(body, max).await {
        Captured::Whole { bytes, trailers } => Ok((bytes, trailers)),
        Captured::TooLarge { .. } => Err(Problem::BodyTooLarge),
        Captured::Failed { error, .. } if is_length_limit(&error) => Err(Problem::BodyTooLarge),
        Captured::Failed { .. } => Err(Problem::BodyUnreadable),
    }
}

fn is_length_limit(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_length_limit)
}

/// Why a request did not come to its guarded handler: its body is too large, or not readable. Nothing
/// was claimed, nothing recorded.
pub struct GuardedRejection(Box<Response>);

impl IntoResponse for GuardedRejection {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.value).finish()
    }
}

impl fmt::Debug for GuardedRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedRejection").field(&self.0.status()).finish()
    }
}

impl<M> fmt::Debug for Via<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Via")
    }
}
