//! Responses: what the engine says, as axum answers it.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use http_body_util::{BodyExt as _, Full};

use super::marks::{DoNotRecord, NoEffect};
use crate::{
    engine::{Answer, Call, Verdict},
    fingerprint::Fingerprint,
    flight::Landing,
    http::{
        capture::{Captured, Resumed, capture},
        headers::{recorded, values},
        problem::Problem,
    },
    idempotency::Idempotency,
    record::{Headers, Metadata, Record},
    settings::{RecordRule, Settings, defaults},
};

/// Says that an answer comes from a record.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn problem_response(problem: Problem, runtime: Option<&Idempotency>) -> Response {
    match runtime {
        Some(runtime) => problem.response(&runtime.settings().docs_url),
        None => problem.response(defaults::DOCS_URL),
    }
    .map(Body::from)
}

pub(super) fn response(answer: Answer<Response>, runtime: &Idempotency) -> Response {
    match answer {
        Answer::Own(response) => response,
        Answer::Replay(record) => replay(&record, true),
        Answer::Shared(record) | Answer::Committed(record) => replay(&record, false),
        Answer::Refused(refused) => problem_response(refused.refusal.into(), Some(runtime)),
    }
}

/// The recorded answer: same status, same headers, same bytes.
fn replay(record: &Record, replayed: bool) -> Response {
    let (status, recorded, trailers) = match record.metadata() {
        Metadata::Response { status, headers, trailers } => (*status, headers, trailers),
        // Only an answer of HTTP is recorded under the key of a handler.
        Metadata::Value | Metadata::Tombstone { .. } => {
            return problem_response(crate::refusal::Refusal::NotReplayable.into(), None);
        }
    };
    let body = record.body().clone();
    let mut response = Response::new(match trailers.is_empty() {
        true => Body::from(body),
        false => with_trailers(body, map(trailers)),
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Room for the two below, and for the length that axum adds.
    headers.reserve(recorded.len() + 3);
    extend(headers, recorded);
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if recorded.iter().all(|(name, _)| name != header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn extend(headers: &mut HeaderMap, recorded: &Headers) {
    for (name, value) in recorded {
        headers.append(name, value.clone());
    }
}

fn map(recorded: &Headers) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(recorded.len());
    extend(&mut headers, recorded);
    headers
}

pub(super) fn with_trailers(body: Bytes, trailers: HeaderMap) -> Body {
    Body::new(Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers)))))
}

/// What the verdict on an answer depends on.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) fingerprint: Fingerprint,
    pub(super) rule: RecordRule,
}

impl Shape {
    pub(super) fn of(call: &Call) -> Self {
        Self { fingerprint: call.fingerprint, rule: call.policy.record }
    }
}

/// Row "outcome": reads what the handler answered, and says what it is worth.
///
/// Not an async function: its future holds the response once.
pub(super) fn verdict(
    response: Response,
    shape: Shape,
    settings: &Settings,
) -> impl Future<Output = Verdict<Response>> {
    let (parts, body) = response.into_parts();
    async move {
        if parts.status.is_informational() || is_event_stream(&parts.headers) {
            return shape.unrecordable(parts, body);
        }
        match capture(body, settings.max_response_bytes).await {
            Captured::Whole { bytes, trailers: None } => {
                let record = shape.record(&parts, &bytes, Headers::new(), settings);
                shape.worth(Response::from_parts(parts, Body::from(bytes)), record)
            }
            captured => shape.uncommon(parts, captured, settings),
        }
    }
}

/// The body as it is recorded: a small one in a buffer of its own, not as a part of a larger one that
/// would live as long.
fn kept(bytes: &Bytes) -> Bytes {
    const SMALL: usize = 16 * 1024;
    if bytes.len() <= SMALL { Bytes::copy_from_slice(bytes) } else { bytes.clone() }
}

fn has<Mark: Send + Sync + 'static>(extensions: &Extensions) -> bool {
    extensions.get::<Mark>().is_some()
}

impl Shape {
    /// What few answers come to.
    #[cold]
    fn uncommon(
        self,
        parts: Parts,
        captured: Captured<Body>,
        settings: &Settings,
    ) -> Verdict<Response> {
        match captured {
            Captured::Whole { bytes, trailers } => {
                let trailers = trailers.unwrap_or_default();
                let owned =
                    |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
                let kept = recorded(&trailers, &settings.unrecorded, bytes.len()).map(owned);
                let record = self.record(&parts, &bytes, kept.collect(), settings);
                let body = match trailers.is_empty() {
                    true => Body::from(bytes),
                    false => with_trailers(bytes, trailers),
                };
                self.worth(Response::from_parts(parts, body), record)
            }
            Captured::TooLarge { read, rest } if read.is_empty() => self.unrecordable(parts, rest),
            Captured::TooLarge { read, rest } => {
                self.unrecordable(parts, Body::new(Resumed::new(read, rest)))
            }
            Captured::Failed { read, error } => {
                let no_effect = has::<NoEffect>(&parts.extensions);
                let body = Body::new(Resumed::<Body>::failed(read, error));
                let answer = Response::from_parts(parts, body);
                Verdict::Transient { shared: Landing::Transient(None), answer, no_effect }
            }
        }
    }

    fn record(self, parts: &Parts, body: &Bytes, trailers: Headers, settings: &Settings) -> Record {
        let headers = recorded(&parts.headers, &settings.unrecorded, body.len());
        let head = Metadata::of_response(parts.status, headers, trailers);
        Record::with_head(self.fingerprint, head, kept(body))
    }

    /// An answer that can be given again.
    fn worth(self, answer: Response, record: Record) -> Verdict<Response> {
        if self.is_final(answer.status(), answer.extensions()) {
            return Verdict::Final { record, answer };
        }
        let no_effect = has::<NoEffect>(answer.extensions());
        Verdict::Transient { shared: Landing::Transient(Some(record)), answer, no_effect }
    }

    /// An answer that passes through: a stream, an upgrade, a body past the bound.
    #[cold]
    fn unrecordable(self, parts: Parts, body: Body) -> Verdict<Response> {
        let is_final = self.is_final(parts.status, &parts.extensions);
        let no_effect = has::<NoEffect>(&parts.extensions);
        let metadata = Metadata::Tombstone { status: Some(parts.status) };
        let answer = Response::from_parts(parts, body);
        match is_final {
            true => {
                let record = Record::new(self.fingerprint, metadata, Bytes::new());
                Verdict::Final { record, answer }
            }
            false => Verdict::Transient { shared: Landing::Transient(None), answer, no_effect },
        }
    }

    fn is_final(self, status: StatusCode, extensions: &Extensions) -> bool {
        !has::<DoNotRecord>(extensions)
            && !has::<NoEffect>(extensions)
            && is_final(status, self.rule)
    }
}

/// Whether an answer with this status is the outcome of the operation. An upgrade (101) is: what
/// follows on its connection has begun.
fn is_final(status: StatusCode, rule: RecordRule) -> bool {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return true;
    }
    match rule {
        RecordRule::All => !status.is_informational(),
        RecordRule::Success => status.is_success(),
        RecordRule::Final => {
            !(status.is_informational()
                || status.is_server_error()
                || status == StatusCode::REQUEST_TIMEOUT
                || status == StatusCode::TOO_EARLY
                || status == StatusCode::TOO_MANY_REQUESTS)
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    values(headers, &header::CONTENT_TYPE).next().is_some_and(|value| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}
