//! Responses: what the engine says, as axum answers it.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
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
        let unrecordable = parts.status.is_informational() || is_event_stream(&parts.headers);
        let captured = match unrecordable {
            true => Captured::TooLarge { read: Bytes::new(), rest: body },
            false => capture(body, settings.max_response_bytes).await,
        };
        shape.verdict(parts, captured, settings)
    }
}

/// The body as it is recorded: a small one in a buffer of its own, not as a part of a larger one that
/// would live as long.
fn kept(bytes: &Bytes) -> Bytes {
    const SMALL: usize = 16 * 1024;
    if bytes.len() <= SMALL { Bytes::copy_from_slice(bytes) } else { bytes.clone() }
}

fn has<Mark: Send + Sync + 'static>(parts: &Parts) -> bool {
    parts.extensions.get::<Mark>().is_some()
}

impl Shape {
    fn verdict(
        self,
        parts: Parts,
        captured: Captured<Body>,
        settings: &Settings,
    ) -> Verdict<Response> {
        let (bytes, trailers) = match captured {
            Captured::Whole { bytes, trailers } => (bytes, trailers),
            Captured::TooLarge { read, rest } if read.is_empty() => {
                return self.unrecordable(parts, rest);
            }
            Captured::TooLarge { read, rest } => {
                return self.unrecordable(parts, Body::new(Resumed::new(read, rest)));
            }
            Captured::Failed { read, error } => {
                let no_effect = has::<NoEffect>(&parts);
                let body = Body::new(Resumed::<Body>::failed(read, error));
                let answer = Response::from_parts(parts, body);
                return Verdict::Transient { shared: Landing::Transient(None), answer, no_effect };
            }
        };
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        let recorded = |headers| recorded(headers, &settings.unrecorded, bytes.len());
        let owned = |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
        let kept_trailers = trailers.iter().flat_map(recorded).map(owned).collect();
        let head = Metadata::of_response(parts.status, recorded(&parts.headers), kept_trailers);
        let record = Record::with_head(self.fingerprint, head, kept(&bytes));
        let (is_final, no_effect) = (self.is_final(&parts), has::<NoEffect>(&parts));
        let body = match trailers {
            Some(trailers) => with_trailers(bytes, trailers),
            None => Body::from(bytes),
        };
        let answer = Response::from_parts(parts, body);
        if is_final {
            return Verdict::Final { record, answer };
        }
        Verdict::Transient { shared: Landing::Transient(Some(record)), answer, no_effect }
    }

    /// An answer that passes through: a stream, an upgrade, a body past the bound.
    fn unrecordable(self, parts: Parts, body: Body) -> Verdict<Response> {
        let (is_final, no_effect) = (self.is_final(&parts), has::<NoEffect>(&parts));
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

    fn is_final(self, parts: &Parts) -> bool {
        !has::<DoNotRecord>(parts) && !has::<NoEffect>(parts) && is_final(parts.status, self.rule)
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
