//! The last argument of a handler, which may be taken after a record was looked for.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;

use super::{
    answer::{problem_response, with_trailers},
    attempt::noting_attempts,
    call::Call,
    kept::Guard,
    outcome::Outcome,
};
use crate::http::{headers::values, problem::Problem};

/// An extractor that does nothing but read the body. The fingerprint stands for the body, so a record
/// is answered before it: the body of a retry is not parsed again.
///
/// Whatever else an extractor may do, such as to check a signature, is done for every request. That
/// is why this is a list, and why it is closed.
pub trait ReadsBody: sealed::Listed + Sized {
    /// Whether it would read this request's body, and take it. Where it might not, it is asked.
    fn admits(headers: &HeaderMap, body: &[u8]) -> bool;

    /// What it makes of a body that it admits, without a request around it.
    ///
    /// # Errors
    ///
    /// How the extractor rejects it.
    fn read(body: Bytes, trailers: Option<HeaderMap>) -> Result<Self, Box<Response>>;
}

#[allow(unnameable_types)] // what nobody else can name, nobody else can implement
mod sealed {
    pub trait Listed {}
}

impl<T> sealed::Listed for Json<T> {}
impl<T: DeserializeOwned> ReadsBody for Json<T> {
    fn admits(headers: &HeaderMap, _: &[u8]) -> bool {
        let content_type = values(headers, &CONTENT_TYPE).next();
        content_type.is_some_and(|value| value.eq_ignore_ascii_case(b"application/json"))
    }

    fn read(body: Bytes, _: Option<HeaderMap>) -> Result<Self, Box<Response>> {
        Self::from_bytes(&body).map_err(rejected)
    }
}

impl sealed::Listed for String {}
impl ReadsBody for String {
    fn admits(_: &HeaderMap, body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok()
    }

    fn read(body: Bytes, _: Option<HeaderMap>) -> Result<Self, Box<Response>> {
        Ok(Self::from_utf8_lossy(&body).into_owned())
    }
}

macro_rules! read_any_body {
    ($($extractor:ty: $read:expr),* $(,)?) => {$(
        impl sealed::Listed for $extractor {}
        impl ReadsBody for $extractor {
            fn admits(_: &HeaderMap, _: &[u8]) -> bool {
                true
            }

            fn read(body: Bytes, trailers: Option<HeaderMap>) -> Result<Self, Box<Response>> {
                let read: fn(Bytes, Option<HeaderMap>) -> Self = $read;
                Ok(read(body, trailers))
            }
        }
    )*};
}
read_any_body! {
    Bytes: |body, _| body,
    Body: |body, trailers| match trailers {
        Some(trailers) => with_trailers(body, trailers),
        None => Self::from(body),
    },
    (): |_, _| (),
}

/// [`ReadsBody`] as a value.
pub struct Reads<T> {
    admits: fn(&HeaderMap, &[u8]) -> bool,
    read: Read<T>,
}

type Read<T> = fn(Bytes, Option<HeaderMap>) -> Result<T, Box<Response>>;

/// Says of a type whether it [reads the body](ReadsBody) and no more.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T: ReadsBody> Probe<T> {
    /// Hides the one of [`DoesMore`].
    pub const READS_BODY: Option<Reads<T>> = Some(Reads { admits: T::admits, read: T::read });
}

/// What is said of all other types.
pub trait DoesMore {
    /// The type that is asked about.
    type Asked;
    /// Hidden where it does not.
    const READS_BODY: Option<Reads<Self::Asked>> = None;
}

impl<T> DoesMore for Probe<T> {
    type Asked = T;
}

/// A type that is not on the list, for generated code that asks for one.
pub enum Unlisted {}

/// The last argument, taken or still to be taken.
pub struct Late<T>(Stage<T>);

enum Stage<T> {
    /// From the request.
    Due(Box<dyn Extract<T>>),
    /// From its body, which it would only read.
    Read(Read<T>),
    Taken(T),
}

/// How axum extracts an argument.
pub(super) trait Extract<T>: Send {
    fn extract(self: Box<Self>, request: Request) -> Extraction<'static, T>;
}

/// Boxed, so that the future of a guarded handler is not twice as large as that of a bare one.
type Extraction<'a, T> = Pin<Box<dyn Future<Output = Result<T, Box<Response>>> + Send + 'a>>;

#[cold]
fn rejected(rejection: impl IntoResponse) -> Box<Response> {
    Box::new(rejection.into_response())
}

pub(super) struct With<S, M> {
    state: S,
    via: PhantomData<fn() -> M>,
}

impl<S, M> With<S, M> {
    pub(super) fn new(state: S) -> Self {
        Self { state, via: PhantomData }
    }
}

impl<S, M, T> Extract<T> for With<S, M>
where
    T: FromRequest<S, M>,
    S: Send + Sync + 'static,
    M: 'static,
{
    fn extract(self: Box<Self>, request: Request) -> Extraction<'static, T> {
        Box::pin(async move {
            let Self { state, .. } = *self;
            T::from_request(request, &state).await.map_err(rejected)
        })
    }
}

/// What is being taken: most is there at once.
pub enum Taking<'a, T> {
    Now(Option<Result<T, Box<Response>>>),
    Later(Extraction<'a, T>),
}

impl<T> Taking<'_, T> {
    fn now(taken: Result<T, Box<Response>>) -> Self {
        Self::Now(Some(taken))
    }
}

/// Nothing is pinned in place.
impl<T> Unpin for Taking<'_, T> {}

impl<T> Future for Taking<'_, T> {
    type Output = Result<T, Box<Response>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(taken) => match taken.take() {
                Some(taken) => Poll::Ready(taken),
                None => panic!("polled after it was over"),
            },
            Self::Later(later) => later.as_mut().poll(cx),
        }
    }
}

impl<T> Late<T> {
    pub(super) fn due(due: Box<dyn Extract<T>>) -> Self {
        Self(Stage::Due(due))
    }

    pub(super) fn taken(value: T) -> Self {
        Self(Stage::Taken(value))
    }

    /// Takes it.
    ///
    /// # Errors
    ///
    /// How the extractor rejects the request.
    pub fn take<'a>(self, guard: &'a mut Guard) -> Taking<'a, T>
    where
        T: 'a,
    {
        let kept = guard.0.as_mut();
        match (self.0, kept) {
            (Stage::Taken(value), _) => Taking::now(Ok(value)),
            (Stage::Read(read), Some(kept)) => {
                let (body, trailers) = kept.take_body();
                Taking::now(read(body, trailers))
            }
            (Stage::Due(due), Some(kept)) => match kept.take_request() {
                Some(request) => Taking::Later(Box::pin(async move {
                    let (value, asked) = noting_attempts(due.extract(request)).await;
                    kept.note(asked);
                    value
                })),
                None => Taking::now(Err(unreadable())),
            },
            (Stage::Read(_) | Stage::Due(_), None) => Taking::now(Err(unreadable())),
        }
    }

    /// Takes it now, unless it only reads the body of this request.
    ///
    /// # Errors
    ///
    /// How the extractor rejects the request.
    pub fn first<'a>(self, reads: Option<Reads<T>>, guard: &'a mut Guard) -> Taking<'a, Self>
    where
        T: 'a,
    {
        if let (Stage::Due(_), Some(reads), Some(kept)) = (&self.0, reads, &guard.0)
            && kept.headers().is_some_and(|headers| (reads.admits)(headers, &kept.body))
        {
            return Taking::now(Ok(Self(Stage::Read(reads.read))));
        }
        match self.take(guard) {
            Taking::Now(taken) => Taking::Now(taken.map(|taken| taken.map(Self::taken))),
            Taking::Later(later) => {
                Taking::Later(Box::pin(async move { later.await.map(Self::taken) }))
            }
        }
    }

    /// Leaves it where it is unless there is a record.
    ///
    /// # Errors
    ///
    /// The recorded answer.
    pub fn unless_recorded(self, call: &mut Call) -> Result<Self, Box<Response>> {
        match &self.0 {
            Stage::Taken(_) => Ok(self),
            Stage::Due(_) | Stage::Read(_) => call.recall().map_or(Ok(self), |r| Err(Box::new(r))),
        }
    }
}

/// Where the request of an argument is gone, which no generated code comes to.
#[cold]
fn unreadable() -> Box<Response> {
    Box::new(problem_response(Problem::BodyUnreadable, None))
}

/// The answer of a request whose handler does not run.
#[allow(clippy::boxed_local)] // as it comes
pub fn answered<R>(response: Box<Response>) -> Outcome<R> {
    Outcome::answered(*response)
}

impl<T: fmt::Debug> fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stage::Due(_) | Stage::Read(_) => f.write_str("Late"),
            Stage::Taken(value) => value.fmt(f),
        }
    }
}

impl fmt::Debug for Unlisted {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl<T> fmt::Debug for Reads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reads")
    }
}

impl<T> fmt::Debug for Taking<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taking")
    }
}
