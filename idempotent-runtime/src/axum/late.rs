//! The last argument of a handler, which may be taken after a record was looked for.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin};

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::{attempt::noting_attempts, call::Call, guarded::Guard, outcome::Outcome};

/// An extractor that does nothing but read the body. The fingerprint stands for the body, so a record
/// is answered before it: the body of a retry is not parsed again.
///
/// Whatever else an extractor may do, such as to check a signature, is done for every request. That
/// is why this is a list, and why it is closed.
pub trait ReadsBody: sealed::Listed {
    /// Whether it would read the body of a request with these headers. Where it might not, it is asked.
    fn admits(headers: &HeaderMap) -> bool;
}

#[allow(unnameable_types)] // what nobody else can name, nobody else can implement
mod sealed {
    pub trait Listed {}
}

impl<T> sealed::Listed for Json<T> {}
impl<T> ReadsBody for Json<T> {
    fn admits(headers: &HeaderMap) -> bool {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        content_type.is_some_and(|value| value.eq_ignore_ascii_case(b"application/json"))
    }
}

macro_rules! read_any_body {
    ($($extractor:ty),*) => {$(
        impl sealed::Listed for $extractor {}
        impl ReadsBody for $extractor {
            fn admits(_: &HeaderMap) -> bool {
                true
            }
        }
    )*};
}
read_any_body!(Body, Bytes, String, ());

/// Whether an extractor would only read the body of a request with these headers.
pub type Admits = fn(&HeaderMap) -> bool;

/// Says of a type whether it [reads the body](ReadsBody) and no more.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T: ReadsBody> Probe<T> {
    /// Hides the one of [`DoesMore`].
    pub const READS_BODY: Option<Admits> = Some(T::admits);
}

/// What is said of all other types.
pub trait DoesMore {
    /// Hidden where it does not.
    const READS_BODY: Option<Admits> = None;
}

impl<T> DoesMore for Probe<T> {}

/// A type that is not on the list, for generated code that asks for one.
pub enum Unlisted {}

/// The last argument, taken or still to be taken.
pub struct Late<T>(Stage<T>);

enum Stage<T> {
    Due(Box<dyn Extract<T>>),
    Taken(T),
}

/// What an argument is extracted from.
trait Extract<T>: Send {
    fn headers(&self) -> &HeaderMap;

    fn extract(self: Box<Self>) -> Extraction<T>;
}

/// Boxed, so that the future of a guarded handler is not twice as large as that of a bare one.
type Extraction<T> = Pin<Box<dyn Future<Output = Result<T, Response>> + Send>>;

struct Due<S, M> {
    request: Request,
    state: S,
    via: PhantomData<fn() -> M>,
}

impl<S, M, T> Extract<T> for Due<S, M>
where
    T: FromRequest<S, M>,
    S: Send + Sync + 'static,
    M: 'static,
{
    fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    fn extract(self: Box<Self>) -> Extraction<T> {
        Box::pin(async move {
            let Self { request, state, .. } = *self;
            T::from_request(request, &state).await.map_err(IntoResponse::into_response)
        })
    }
}

impl<T> Late<T> {
    pub(super) fn new<S, M>(request: Request, state: S) -> Self
    where
        T: FromRequest<S, M>,
        S: Send + Sync + 'static,
        M: 'static,
    {
        Self(Stage::Due(Box::new(Due { request, state, via: PhantomData })))
    }

    pub(super) fn taken(value: T) -> Self {
        Self(Stage::Taken(value))
    }

    /// Takes it.
    ///
    /// # Errors
    ///
    /// How the extractor rejects the request.
    pub async fn take(self, guard: &mut Guard) -> Result<T, Response> {
        match self.0 {
            Stage::Taken(value) => Ok(value),
            Stage::Due(due) => {
                let (value, asked) = noting_attempts(due.extract()).await;
                guard.note(asked);
                value
            }
        }
    }

    /// Takes it now, unless it only reads the body of this request.
    ///
    /// # Errors
    ///
    /// How the extractor rejects the request.
    pub async fn first(
        self,
        reads_body: Option<Admits>,
        guard: &mut Guard,
    ) -> Result<Self, Response> {
        let is_late = match (&self.0, reads_body) {
            (Stage::Due(due), Some(admits)) => admits(due.headers()),
            _ => false,
        };
        match is_late {
            true => Ok(self),
            false => self.take(guard).await.map(Self::taken),
        }
    }

    /// Leaves it where it is unless there is a record.
    ///
    /// # Errors
    ///
    /// The recorded answer.
    #[allow(clippy::result_large_err)] // an answer, and not an error
    pub fn unless_recorded(self, call: &mut Call) -> Result<Self, Response> {
        match &self.0 {
            Stage::Due(_) => call.recall().map_or(Ok(self), Err),
            Stage::Taken(_) => Ok(self),
        }
    }
}

/// The answer of a request whose handler does not run.
pub fn answered<R>(response: Response) -> Outcome<R> {
    Outcome::answered(response)
}

impl<T: fmt::Debug> fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stage::Due(_) => f.write_str("Late"),
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
