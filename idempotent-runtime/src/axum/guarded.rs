//! `Guarded<T>`: the last argument of a guarded handler, and what the guard keeps of the request.

use std::{error::Error, fmt, marker::PhantomData};

use axum::{
    RequestExt as _,
    body::{Body, HttpBody as _},
    extract::{FromRequest, MatchedPath, OriginalUri, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::answer::problem_response;
use crate::{
    attempt::AttemptSlot,
    http::{key_header::KeptHeaders, problem::Problem},
    idempotency::Idempotency,
    settings::defaults,
};

/// The last argument of a guarded handler. The attribute writes it; tests make one with
/// [`unguarded`](Self::unguarded).
///
/// It buffers the body under the handler's own `DefaultBodyLimit`, so that the body can be part of
/// the fingerprint, and hands the request on to `T` unchanged.
pub struct Guarded<T> {
    value: T,
    guard: Guard,
}

/// What the guard keeps of the request while the handler's arguments are taken from it.
pub struct Guard(pub(super) Option<Box<Kept>>);

pub(super) struct Kept {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: KeptHeaders,
    pub(super) body: Bytes,
    pub(super) route: Option<MatchedPath>,
    pub(super) runtime: Option<Idempotency>,
    pub(super) attempt: AttemptSlot,
}

/// Says how axum extracts `T` inside a [`Guarded<T>`]: from the parts or from the whole request.
pub struct Via<M>(PhantomData<fn() -> M>);

impl<T> Guarded<T> {
    /// An argument outside of any request, to call a handler directly:
    /// `handler(Guarded::unguarded(Json(new))).await.direct()` runs its body and nothing else.
    pub fn unguarded(value: T) -> Self {
        Self { value, guard: Guard(None) }
    }

    /// The handler's own argument, and the guard.
    #[doc(hidden)]
    pub fn into_parts(self) -> (T, Guard) {
        (self.value, self.guard)
    }
}

impl<S, T, M> FromRequest<S, Via<M>> for Guarded<T>
where
    T: FromRequest<S, M>,
    S: Send + Sync,
{
    type Rejection = GuardedRejection<T::Rejection>;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let (kept, request) = keep(request).await.map_err(GuardedRejection::guard)?;
        let value = T::from_request(request, state).await.map_err(GuardedRejection::inner)?;
        Ok(Self { value, guard: Guard(Some(kept)) })
    }
}

/// Buffers the body and keeps what the guard needs; the request comes back whole.
async fn keep(request: Request) -> Result<(Box<Kept>, Request), Response> {
    let runtime = request.extensions().get::<Idempotency>().cloned();
    let max = runtime
        .as_ref()
        .map_or(defaults::MAX_REQUEST_BYTES, |runtime| runtime.settings().max_request_bytes);
    let (mut parts, body) = request.with_limited_body().into_parts();
    let body = match buffer(body, max).await {
        Ok(body) => body,
        Err(problem) => return Err(problem_response(problem, runtime.as_ref())),
    };
    let uri = match parts.extensions.get::<OriginalUri>() {
        Some(OriginalUri(uri)) => uri.clone(),
        None => parts.uri.clone(),
    };
    let kept = Box::new(Kept {
        method: parts.method.clone(),
        uri,
        headers: KeptHeaders::of(&parts.headers),
        body: body.clone(),
        route: parts.extensions.get().cloned(),
        runtime,
        attempt: AttemptSlot::of(&mut parts.extensions),
    });
    Ok((kept, Request::from_parts(parts, Body::from(body))))
}

async fn buffer(body: Body, max: usize) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > max as u64 {
        return Err(Problem::BodyTooLarge);
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if is_length_limit(&*error) => Err(Problem::BodyTooLarge),
        Err(_) => Err(Problem::BodyUnreadable),
    }
}

fn is_length_limit(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_length_limit)
}

/// Why a guarded handler did not get its last argument; nothing was claimed, nothing recorded.
pub struct GuardedRejection<R>(Rejected<R>);

enum Rejected<R> {
    Guard(Box<Response>),
    Inner(R),
}

impl<R> GuardedRejection<R> {
    fn guard(response: Response) -> Self {
        Self(Rejected::Guard(Box::new(response)))
    }

    fn inner(rejection: R) -> Self {
        Self(Rejected::Inner(rejection))
    }
}

impl<R: IntoResponse> IntoResponse for GuardedRejection<R> {
    fn into_response(self) -> Response {
        match self.0 {
            Rejected::Guard(response) => *response,
            Rejected::Inner(rejection) => rejection.into_response(),
        }
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

impl<R: fmt::Debug> fmt::Debug for GuardedRejection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rejected::Guard(_) => f.write_str("GuardedRejection(body)"),
            Rejected::Inner(rejection) => {
                f.debug_tuple("GuardedRejection").field(rejection).finish()
            }
        }
    }
}

impl<M> fmt::Debug for Via<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Via")
    }
}
