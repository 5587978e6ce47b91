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
    guarded::Guarded,
    kept::{Guard, Kept},
    outcome::Outcome,
};
use crate::{
    http::{headers::values, problem::Problem},
    settings::Spec,
};

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

/// The last argument, taken or still to be taken.
#[allow(unnameable_types)] // generated code hands it on
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
#[allow(unnameable_types)] // generated code hands it on
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

impl<T> Late<T> {
    pub(super) fn due(due: Box<dyn Extract<T>>) -> Self {
        Self(Stage::Due(due))
    }

    pub(super) fn taken(value: T) -> Self {
        Self(Stage::Taken(value))
    }

    /// What is there, or is read of the body.
    #[inline]
    fn read(self, call: &mut Call) -> Result<T, Instead> {
        match (self.0, &mut call.guard().0) {
            (Stage::Taken(value), _) => Ok(value),
            (Stage::Read(read), Some(kept)) => {
                let (body, trailers) = kept.take_body();
                read(body, trailers)
            }
            // Whatever does more was taken before.
            (Stage::Read(_) | Stage::Due(_), _) => Err(Instead::unreadable()),
        }
    }

    /// Leaves it for later where it only reads the body of this request.
    #[inline]
    fn left(&mut self, reads: Option<Reads<T>>, guard: &Guard) -> bool {
        if let (Stage::Due(_), Some(reads), Some(kept)) = (&self.0, reads, &guard.0)
            && kept.headers().is_some_and(|headers| (reads.admits)(headers, &kept.body))
        {
            self.0 = Stage::Read(reads.read);
            return true;
        }
        false
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

/// A step of a request on its way to its handler: most are done at once, in no future of their own.
#[allow(unnameable_types)] // generated code awaits it
pub enum Step<'a, T> {
    Now(Option<T>),
    Later(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

/// Nothing is pinned in place.
impl<T> Unpin for Step<'_, T> {}

impl<T> Future for Step<'_, T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut *self {
            Self::Now(done) => match done.take() {
                Some(done) => Poll::Ready(done),
                None => panic!("polled after it was over"),
            },
            Self::Later(later) => later.as_mut().poll(cx),
        }
    }
}

/// Where a request has come to with `T`, or the answer of one whose handler does not run.
type Come<T, R> = Result<T, Outcome<R>>;

fn instead<T, R>(instead: Instead) -> Come<T, R> {
    Err(Outcome::answered(instead.0))
}

/// Takes an argument from its request, and goes on with `then`.
fn taken<'a, T: 'a, C: 'a, R: 'a>(
    value: Late<T>,
    mut guard: Guard,
    then: impl FnOnce(T, Guard) -> C + Send + 'a,
) -> Step<'a, Come<C, R>> {
    let due = match value.0 {
        Stage::Taken(value) => return Step::Now(Some(Ok(then(value, guard)))),
        Stage::Due(due) => due,
        // It was left for later.
        Stage::Read(_) => return Step::Now(Some(instead(Instead::unreadable()))),
    };
    // The argument itself is in no future, which need not be `Send` for it.
    Step::Later(Box::pin(async move {
        let Some(kept) = &mut guard.0 else { return instead(Instead::unreadable()) };
        let Some(request) = kept.take_request() else { return instead(Instead::unreadable()) };
        let extracted = due.extract(kept, request).await;
        match extracted {
            Ok(value) => Ok(then(value, guard)),
            Err(refused) => instead(refused),
        }
    }))
}

/// Takes the last argument before all else, as an option speaks of it.
pub fn take<'a, T: 'a, R: 'a>(last: Guarded<T>) -> Step<'a, Come<(T, Guard), R>> {
    let (value, guard) = last.into_parts();
    taken(value, guard, |value, guard| (value, guard))
}

/// Takes the last argument, unless it only reads the body of this request.
#[inline]
pub fn first<'a, T: 'a, R: 'a>(
    last: Guarded<T>,
    reads: Option<Reads<T>>,
) -> Step<'a, Come<(Late<T>, Guard), R>> {
    let (mut value, guard) = last.into_parts();
    if value.left(reads, &guard) {
        return Step::Now(Some(Ok((value, guard))));
    }
    taken(value, guard, |value, guard| (Late::taken(value), guard))
}

/// Takes what is left of the last argument, unless there is a record.
#[inline]
pub fn late<'a, T: 'a, R: 'a>(value: Late<T>, mut call: Call) -> Step<'a, Come<(T, Call), R>> {
    Step::Now(Some(
        match value.unless_recorded(&mut call).and_then(|value| value.read(&mut call)) {
            Ok(value) => Ok((value, call)),
            Err(refused) => instead(refused),
        },
    ))
}

/// [`first`] and [`late`], where no option has an expression: the key is in a header.
#[inline]
pub fn begin<'a, T: 'a, R: 'a>(
    last: Guarded<T>,
    reads: Option<Reads<T>>,
    spec: &'static Spec,
) -> Step<'a, Come<(T, Call), R>> {
    let frozen =
        move |guard| Call::new(guard, spec).key_header(spec.key_header.unwrap_or_default());
    let (mut value, guard) = last.into_parts();
    match value.left(reads, &guard) {
        true => late(value, frozen(guard)),
        false => taken(value, guard, move |value, guard| (value, frozen(guard))),
    }
}

impl<T: fmt::Debug> fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stage::Due(_) | Stage::Read(_) => f.write_str("Late"),
            Stage::Taken(value) => value.fmt(f),
        }
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

impl<T> fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step")
    }
}

impl fmt::Debug for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instead").field(&self.0.status()).finish()
    }
}
