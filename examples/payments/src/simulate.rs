//! The `Simulate` request header: what goes wrong in production, on demand, to watch a retry being
//! safe. It is not part of the fingerprint, so a request with it and one without are the same
//! request.

use std::{future, io, str::FromStr, time::Duration};

use axum::{
    body::{self, Body, Bytes},
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};
use futures_util::stream;
use idempotent_runtime::Attempt;

use crate::problem::Problem;

/// The longest `delay`, and the largest `large`: a demonstration shouldn't stop the service.
const MAX_DELAY: Duration = Duration::from_mins(1);
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a request asks to go wrong, in the order it asks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulate(Vec<Directive>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Directive {
    /// `delay=200ms`: takes that long before the effect.
    Delay(Duration),
    /// `fail=503`: answers that status, without the effect.
    Fail(StatusCode),
    /// `fail-once=503`: the same, on the first attempt only.
    FailOnce(StatusCode),
    /// `panic`: before the effect.
    Panic,
    /// `panic-after`: after the effect.
    PanicAfter,
    /// `drop-answer`: the effect happens, and the connection is closed without an answer.
    DropAnswer,
    /// `large=BYTES`: an answer of this size.
    Large(usize),
    /// `stream`: the answer as an event stream.
    Stream,
    /// `set-cookie`: an answer that sets a cookie.
    SetCookie,
}

impl Simulate {
    /// What happens instead of the effect, or before it.
    pub(crate) async fn before_effect(&self, attempt: &Attempt) -> Result<(), Problem> {
        for directive in &self.0 {
            match *directive {
                Directive::Delay(delay) => {
                    tracing::info!(?delay, "simulated: delay");
                    tokio::time::sleep(delay).await;
                }
                Directive::Fail(status) => return Err(failure(status)),
                Directive::FailOnce(status) if attempt.number() == 1 => {
                    return Err(failure(status));
                }
                Directive::Panic => panic!("simulated: panic before the effect"),
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn after_effect(&self) {
        assert!(!self.asks_for(Directive::PanicAfter), "simulated: panic after the effect");
    }

    /// Changes the answer of an effect that happened.
    pub(crate) async fn dress(&self, answer: Response) -> Response {
        let (mut head, body) = answer.into_parts();
        // The body was made of bytes just before: reading it can't fail.
        let mut body = body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        for directive in &self.0 {
            match *directive {
                Directive::Large(bytes) => body = padded(&body, bytes),
                Directive::Stream => {
                    let event_stream = HeaderValue::from_static("text/event-stream");
                    head.headers.insert(header::CONTENT_TYPE, event_stream);
                    body = [b"event: payment\ndata: ", &*body, b"\n\n"].concat().into();
                }
                Directive::SetCookie => {
                    let cookie = HeaderValue::from_static("session=of-this-answer; HttpOnly");
                    head.headers.append(header::SET_COOKIE, cookie);
                }
                _ => {}
            }
        }
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Body::from(body))
    }

    fn asks_for(&self, directive: Directive) -> bool {
        self.0.contains(&directive)
    }
}

fn failure(status: StatusCode) -> Problem {
    Problem::new(status, "simulated: failure before the effect")
}

/// JSON may be followed by spaces.
fn padded(body: &[u8], bytes: usize) -> Bytes {
    let mut padded = body.to_vec();
    padded.resize(bytes.max(body.len()), b' ');
    padded.into()
}

/// Closes the connection instead of answering, where `drop-answer` asks for it. A replay passes: it
/// is what the retry is after.
pub(crate) async fn drop_answer(simulate: Simulate, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if !simulate.asks_for(Directive::DropAnswer)
        || answer.headers().contains_key("idempotent-replayed")
    {
        return answer;
    }
    tracing::info!("simulated: answer dropped");
    // The head is not sent before the body begins, and this body begins with an error.
    let error = io::Error::other("simulated: answer dropped");
    answer.map(|_| Body::from_stream(stream::once(future::ready(Err::<Bytes, _>(error)))))
}

impl<S: Sync> FromRequestParts<S> for Simulate {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers).map_err(Problem::bad_request)
    }
}

impl Simulate {
    fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut directives = Vec::new();
        for line in headers.get_all("simulate") {
            let line = line.to_str().map_err(|_| "Simulate: expected visible ASCII")?;
            for directive in line.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                let parsed = directive.parse::<Directive>();
                directives.push(parsed.map_err(|hint| format!("Simulate: `{directive}`: {hint}"))?);
            }
        }
        Ok(Self(directives))
    }
}

impl FromStr for Directive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text, None),
        };
        Ok(match (name, value) {
            ("delay", Some(value)) => Self::Delay(delay(value)?),
            ("fail", Some(value)) => Self::Fail(status(value)?),
            ("fail-once", Some(value)) => Self::FailOnce(status(value)?),
            ("panic", None) => Self::Panic,
            ("panic-after", None) => Self::PanicAfter,
            ("drop-answer", None) => Self::DropAnswer,
            ("large", Some(value)) => Self::Large(bytes(value)?),
            ("stream", None) => Self::Stream,
            ("set-cookie", None) => Self::SetCookie,
            _ => {
                return Err("expected delay=DURATION, fail=STATUS, fail-once=STATUS, panic, \
                            panic-after, drop-answer, large=BYTES, stream or set-cookie"
                    .to_owned());
            }
        })
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(delay) if delay <= MAX_DELAY => Ok(delay),
        _ => Err("expected a duration of at most 1m, such as 200ms".to_owned()),
    }
}

/// An answer with a status of 1xx would not be the last one.
fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if !status.is_informational() => Ok(status),
        _ => Err("expected a status from 200 to 999".to_owned()),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        _ => Err(format!("expected a number of bytes of at most {MAX_BYTES}")),
    }
}
