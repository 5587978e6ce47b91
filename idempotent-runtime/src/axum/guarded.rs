//! `Guarded<T>`: the last argument of a guarded handler, and what the guard keeps of the request.

use std::{error::Error, fmt, marker::PhantomData, mem};

use axum::{
    RequestExt as _,
    body::{Body, HttpBody as _},
    extract::{FromRequest, MatchedPath, OriginalUri, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::LengthLimitError;

use super::{
    answer::{problem_response, with_trailers},
    late::Late,
};
use crate::{
    attempt::AttemptSlot,
    http::{
        capture::{Captured, capture},
        head::Head,
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

/// What the guard keeps of the request while the handler's arguments are taken from it.
pub struct Guard(pub(super) Option<Box<Kept>>);

impl Guard {
    /// The last argument asked for its attempt, or did not.
    pub(super) fn note(&mut self, asked: Option<AttemptSlot>) {
        if let Some(kept) = &mut self.0 {
            kept.attempt = kept.attempt.take().or(asked);
        }
    }
}

pub(super) struct Kept {
    pub(super) method: Method,
    pub(super) head: Head,
    pub(super) body: Bytes,
    pub(super) route: Option<MatchedPath>,
    pub(super) runtime: Option<Idempotency>,
    /// Where an argument wants to know its attempt.
    pub(super) attempt: Option<AttemptSlot>,
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
        let mut request = request.with_limited_body();
        // A block and not an async function, so that its future holds the request once.
        async move {
            let body = mem::take(request.body_mut());
            let body = match buffer(body, announced, max_bytes(runtime.as_ref())).await {
                Ok(body) => body,
                Err(problem) => {
                    let response = problem_response(problem, runtime.as_ref());
                    return Err(GuardedRejection(Box::new(response)));
                }
            };
            let kept = keep(&mut request, body, runtime);
            let value = Late::new(request, state.clone());
            Ok(Self { value, guard: Guard(Some(kept)) })
        }
    }
}

fn max_bytes(runtime: Option<&Idempotency>) -> usize {
    runtime.map_or(defaults::MAX_REQUEST_BYTES, |runtime| runtime.settings().max_request_bytes)
}

/// Keeps what the guard needs; the request goes on whole.
fn keep(
    request: &mut Request,
    (body, trailers): (Bytes, Option<HeaderMap>),
    runtime: Option<Idempotency>,
) -> Box<Kept> {
    let extensions = request.extensions();
    let uri = extensions.get::<OriginalUri>().map_or(request.uri(), |original| &original.0);
    let kept = Box::new(Kept {
        method: request.method().clone(),
        head: Head::of(uri, request.headers()),
        body: body.clone(),
        route: extensions.get().cloned(),
        runtime,
        attempt: extensions.get().cloned(),
    });
    *request.body_mut() = match trailers {
        Some(trailers) => with_trailers(body, trailers),
        None => Body::from(body),
    };
    kept
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

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
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
