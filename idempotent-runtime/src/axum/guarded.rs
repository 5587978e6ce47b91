//! `Guarded<T>`: the last argument of a guarded handler.

use std::{
    error::Error,
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    RequestExt as _,
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;

use super::{
    answer::problem_response,
    kept::{Guard, Kept},
    late::{Extract, Late, With},
};
use crate::{
    http::{
        capture::{Capture, Captured},
        problem::Problem,
    },
    idempotency::Idempotency,
    settings::defaults,
};

/// The last argument of a guarded handler. The attribute writes it; tests make one with
/// [`unguarded`](Self::unguarded).
///
/// It buffers the body under the handler's own `DefaultBodyLimit`, so that the body can be part of
/// the fingerprint, and hands the request on to `T` unchanged before the guard begins. Where `T` only
/// reads the body and no option speaks of it, it is read from that after a record was looked for.
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
        let due: Box<dyn Extract<T>> = Box::new(With::new(state.clone()));
        Making { reading: Reading::of(request), due: Some(due) }
    }
}

/// A last argument that is being made. Not an async function, whose future would move what it is made
/// of once more.
struct Making<T> {
    reading: Reading,
    due: Option<Box<dyn Extract<T>>>,
}

impl<T> Future for Making<T> {
    type Output = Result<Guarded<T>, GuardedRejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let kept = ready!(Pin::new(&mut self.reading).poll(cx));
        let Some(due) = self.due.take() else { panic!("polled after it was over") };
        Poll::Ready(kept.map(|kept| Guarded { value: Late::due(due), guard: Guard(Some(kept)) }))
    }
}

/// A request whose body is being read, under the handler's own limit and that of its runtime.
struct Reading {
    kept: Option<Box<Kept>>,
    body: Result<Body, Problem>,
    capture: Capture,
}

impl Reading {
    fn of(request: Request) -> Self {
        let announced = request.body().size_hint().lower();
        let runtime = request.extensions().get::<Idempotency>().cloned();
        let max = max_bytes(runtime.as_ref());
        let (parts, body) = request.with_limited_body().into_parts();
        // A limited body never announces more than its limit: one that announced more is refused
        // unread.
        let body = match announced > body.size_hint().lower().min(max as u64) {
            true => Err(Problem::BodyTooLarge),
            false => Ok(body),
        };
        let kept = Some(Box::new(Kept::new(parts, runtime)));
        Self { kept, body, capture: Capture::new(max) }
    }

    #[cold]
    fn refused(&self, problem: Problem) -> GuardedRejection {
        let runtime = self.kept.as_ref().and_then(|kept| kept.runtime.as_ref());
        GuardedRejection(problem_response(problem, runtime))
    }
}

impl Future for Reading {
    type Output = Result<Box<Kept>, GuardedRejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { body, capture, .. } = &mut *self;
        let captured = match body {
            Ok(body) => ready!(capture.poll(body, None, cx)),
            Err(problem) => {
                let problem = *problem;
                return Poll::Ready(Err(self.refused(problem)));
            }
        };
        Poll::Ready(match (captured, self.kept.take()) {
            (Captured::Whole { bytes, trailers }, Some(mut kept)) => {
                kept.body = bytes;
                kept.trailers = trailers;
                Ok(kept)
            }
            (captured, kept) => {
                self.kept = kept;
                Err(self.refused(match captured {
                    Captured::TooLarge { .. } => Problem::BodyTooLarge,
                    Captured::Failed { error, .. } if is_length_limit(&error) => {
                        Problem::BodyTooLarge
                    }
                    Captured::Failed { .. } | Captured::Whole { .. } | Captured::TooSlow { .. } => {
                        Problem::BodyUnreadable
                    }
                }))
            }
        })
    }
}

fn max_bytes(runtime: Option<&Idempotency>) -> usize {
    runtime.map_or(defaults::MAX_REQUEST_BYTES, |runtime| runtime.settings().max_request_bytes)
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
