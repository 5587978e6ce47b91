//! The last argument of a handler, which may be taken after a record was looked for.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::{Pin, pin},
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
    kept::{Guard, Kept},
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
    fn read(body: Bytes, trailers: Option<HeaderMap>) -> Result<Self, Instead>;
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

    fn read(body: Bytes, _: Option<HeaderMap>) -> Result<Self, Instead> {
        // axum keeps the path to where it reads, for the error. What has no error is read faster
        // without; what has one is read again.
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Self(value)),
            Err(_) => Self::from_bytes(&body).map_err(Instead::rejected),
        }
    }
}

impl sealed::Listed for String {}
impl ReadsBody for String {
    fn admits(_: &HeaderMap, body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok()
    }

    fn read(body: Bytes, _: Option<HeaderMap>) -> Result<Self, Instead> {
        Self::from_utf8(body.into()).map_err(|_| Instead::unreadable())
    }
}

macro_rules! read_any_body {
    ($($extractor:ty: $read:expr),* $(,)?) => {$(
        impl sealed::Listed for $extractor {}
        impl ReadsBody for $extractor {
            fn admits(_: &HeaderMap, _: &[u8]) -> bool {
                true
            }

            fn read(body: Bytes, trailers: Option<HeaderMap>) -> Result<Self, Instead> {
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

type Read<T> = fn(Bytes, Option<HeaderMap>) -> Result<T, Instead>;

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
    fn extract<'a>(self: Box<Self>, kept: &'a mut Kept, request: Request) -> Extraction<'a, T>
    where
        T: 'a;
}

/// Boxed, so that the future of a guarded handler is not twice as large as that of a bare one.
type Extraction<'a, T> = Pin<Box<dyn Future<Output = Result<T, Instead>> + Send + 'a>>;

/// From the request, with this state.
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
    fn extract<'a>(self: Box<Self>, kept: &'a mut Kept, request: Request) -> Extraction<'a, T>
    where
        T: 'a,
    {
        Box::pin(async move {
            let extract = pin!(T::from_request(request, &self.state));
            let (value, asked) = noting_attempts(extract).await;
            kept.note(asked);
            value.map_err(Instead::rejected)
        })
    }
}

/// What a request is answered instead of by its handler.
pub struct Instead(Box<Response>);

impl Instead {
    #[cold]
    fn rejected(rejection: impl IntoResponse) -> Self {
        Self(Box::new(rejection.into_response()))
    }

    /// Where the request of an argument is gone, which no generated code comes to.
    #[cold]
    fn unreadable() -> Self {
        Self(problem_response(Problem::BodyUnreadable, None))
    }
}

/// An argument that is being taken: most are there at once.
pub struct Taking<'a, T>(Stages<'a, T>);

enum Stages<'a, T> {
    Now(Option<Result<T, Instead>>),
    Later(Extraction<'a, T>),
}

/// Nothing is pinned in place.
impl<T> Unpin for Taking<'_, T> {}

impl<T> Future for Taking<'_, T> {
    type Output = Result<T, Instead>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stages::Now(taken) => match taken.take() {
                Some(taken) => Poll::Ready(taken),
                None => panic!("polled after it was over"),
            },
            Stages::Later(later) => later.as_mut().poll(cx),
        }
    }
}

/// An argument that is being taken, unless it is left for later.
pub struct First<'a, T>(Result<Taking<'a, T>, Read<T>>);

impl<T> Future for First<'_, T> {
    type Output = Result<Late<T>, Instead>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(taking) => Pin::new(taking).poll(cx).map(|taken| taken.map(Late::taken)),
            Err(read) => Poll::Ready(Ok(Late(Stage::Read(*read)))),
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
        Taking(Stages::Now(Some(match (self.0, &mut guard.0) {
            (Stage::Taken(value), _) => Ok(value),
            (Stage::Read(read), Some(kept)) => {
                let (body, trailers) = kept.take_body();
                read(body, trailers)
            }
            (Stage::Due(due), Some(kept)) => match kept.take_request() {
                Some(request) => return Taking(Stages::Later(due.extract(kept, request))),
                None => Err(Instead::unreadable()),
            },
            (Stage::Read(_) | Stage::Due(_), None) => Err(Instead::unreadable()),
        })))
    }

    /// Takes it now, unless it only reads the body of this request.
    ///
    /// # Errors
    ///
    /// How the extractor rejects the request.
    pub fn first<'a>(self, reads: Option<Reads<T>>, guard: &'a mut Guard) -> First<'a, T>
    where
        T: 'a,
    {
        if let (Stage::Due(_), Some(reads), Some(kept)) = (&self.0, reads, &guard.0)
            && kept.headers().is_some_and(|headers| (reads.admits)(headers, &kept.body))
        {
            return First(Err(reads.read));
        }
        First(Ok(self.take(guard)))
    }

    /// Leaves it where it is unless there is a record.
    ///
    /// # Errors
    ///
    /// The recorded answer.
    pub fn unless_recorded(self, call: &mut Call) -> Result<Self, Instead> {
        match &self.0 {
            Stage::Taken(_) => Ok(self),
            Stage::Due(_) | Stage::Read(_) => match call.recall() {
                None => Ok(self),
                Some(replay) => Err(Instead(replay)),
            },
        }
    }
}

/// The answer of a request whose handler does not run.
pub fn answered<R>(instead: Instead) -> Outcome<R> {
    Outcome::answered(instead.0)
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

impl<T> fmt::Debug for First<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("First")
    }
}

impl fmt::Debug for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instead").field(&self.0.status()).finish()
    }
}
