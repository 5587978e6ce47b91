//! `Outcome<R>`: what a guarded handler returns.

use std::fmt;

use axum::response::{IntoResponse, Response};

/// What a guarded handler returns: its own value where its body ran outside of the guard, else the
/// answer that the guard decided on.
pub struct Outcome<R>(Kind<R>);

enum Kind<R> {
    Direct(R),
    /// Boxed: an answer passes through many hands.
    Answered(Box<Response>),
}

impl<R> Outcome<R> {
    pub(super) fn of(value: R) -> Self {
        Self(Kind::Direct(value))
    }

    pub(super) fn answered(response: Box<Response>) -> Self {
        Self(Kind::Answered(response))
    }

    /// The handler's own return value, in a test that called it with
    /// [`Guarded::unguarded`](super::Guarded::unguarded).
    ///
    /// # Panics
    ///
    /// When the handler was called through a router: then its answer is a response.
    #[track_caller]
    pub fn direct(self) -> R {
        match self.0 {
            Kind::Direct(value) => value,
            Kind::Answered(_) => panic!(
                "the guard answered; `direct()` is for handlers called with `Guarded::unguarded`"
            ),
        }
    }
}

impl<R: IntoResponse> IntoResponse for Outcome<R> {
    fn into_response(self) -> Response {
        match self.0 {
            Kind::Direct(value) => value.into_response(),
            Kind::Answered(response) => *response,
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for Outcome<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Direct(value) => f.debug_tuple("Direct").field(value).finish(),
            Kind::Answered(response) => {
                f.debug_tuple("Answered").field(&response.status()).finish()
            }
        }
    }
}

/// What a guarded handler may return: whatever axum makes a response of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an answer that an idempotent handler can give",
    label = "axum cannot make a response of this",
    note = "return something that implements `IntoResponse`, such as `Json<T>`, `(StatusCode, Json<T>)` or a `Result` of these"
)]
pub trait Reply {
    /// The response.
    fn reply(self) -> Response;
}

impl<R: IntoResponse> Reply for R {
    fn reply(self) -> Response {
        self.into_response()
    }
}

/// Makes the response of a handler's return value.
pub fn reply<R: Reply>(value: R) -> Response {
    value.reply()
}
