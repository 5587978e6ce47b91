//! Responses: what the engine says, as axum answers it.
#![expect(
    clippy::unnecessary_box_returns,
    reason = "an answer passes through many hands, and each would copy it"
)]

use std::{future::poll_fn, mem};

use axum::{
    body::{Body, HttpBody as _},
    response::Response,
};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::marks::{DoNotRecord, NoEffect, PassThrough};
use crate::{
    engine::{Answer, Call, Effect, Verdict},
    fingerprint::Fingerprint,
    flight::Landing,
    http::{
        capture::{Capture, Captured, Resumed},
        headers::recorded,
        problem::Problem,
        streams::is_stream,
    },
    idempotency::Idempotency,
    record::{Headers, Metadata, Record},
    settings::{Policy, RecordRule, Settings, defaults},
};

/// Says that an answer comes from a record.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn problem_response(problem: Problem, runtime: Option<&Idempotency>) -> Box<Response> {
    let docs_url = runtime.map_or(defaults::DOCS_URL, |runtime| &runtime.settings().docs_url);
    Box::new(problem.response(docs_url).map(Body::from))
}

pub(super) fn response(answer: Answer<Box<Response>>, runtime: &Idempotency) -> Box<Response> {
    match answer {
        Answer::Own(response) => response,
        Answer::Replay(record) => replay(&record, true),
        Answer::Shared(record) | Answer::Committed(record) => replay(&record, false),
        Answer::Refused(refused) => problem_response(refused.into(), Some(runtime)),
    }
}

/// The recorded answer: same status, same headers, same bytes.
fn replay(record: &Record, replayed: bool) -> Box<Response> {
    let (status, recorded, trailers) = match record.metadata() {
        Metadata::Response { status, headers, trailers } => (*status, headers, trailers),
        // Only an answer of HTTP is recorded under the key of a handler.
        Metadata::Value | Metadata::Tombstone { .. } => {
            return problem_response(crate::refusal::Refusal::NotReplayable.into(), None);
        }
    };
    let body = record.body().clone();
    let mut response = Box::new(Response::new(match trailers.is_empty() {
        true => Body::from(body),
        false => with_trailers(body, map(trailers)),
    }));
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
    Body::new(Resumed::<Body>::with_trailers(body, trailers))
}

/// What the verdict on an answer depends on.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) fingerprint: &'a Fingerprint,
    pub(super) policy: &'a Policy,
}

impl<'a> Shape<'a> {
    pub(super) fn of(call: &'a Call) -> Self {
        Self { fingerprint: &call.fingerprint, policy: &call.policy }
    }
}

/// Row "outcome": reads what the handler answered, and says what it is worth.
pub(super) async fn verdict(
    mut response: Box<Response>,
    shape: Shape<'_>,
) -> Verdict<Box<Response>> {
    let Settings { max_response_bytes: max, capture_for, .. } = *shape.settings();
    let announced = response.body().size_hint();
    let passes = announced.lower() > max as u64
        || response.status().is_informational()
        || is_stream(response.headers())
        || has::<PassThrough>(response.extensions());
    if passes {
        return shape.unrecordable(response);
    }
    let mut capture = Capture::new(max);
    match poll_fn(|cx| capture.poll(response.body_mut(), Some(capture_for), cx)).await {
        Captured::Whole { bytes, trailers: None } => {
            let record = shape.record(&response, &bytes, Headers::new());
            *response.body_mut() = Body::from(bytes);
            shape.worth(response, record)
        }
        captured => shape.uncommon(response, announced.exact(), captured),
    }
}

fn has<Mark: Send + Sync + 'static>(extensions: &Extensions) -> bool {
    extensions.get::<Mark>().is_some()
}

impl Shape<'_> {
    fn settings(&self) -> &Settings {
        &self.policy.settings
    }

    /// What few answers come to.
    #[cold]
    fn uncommon(
        self,
        mut response: Box<Response>,
        length: Option<u64>,
        captured: Captured<axum::Error>,
    ) -> Verdict<Box<Response>> {
        match captured {
            Captured::Whole { bytes, trailers } => {
                let trailers = trailers.map(|trailers| *trailers).unwrap_or_default();
                let owned =
                    |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
                let kept = recorded(&trailers, &self.settings().unrecorded, false);
                // A body that told its length is not one that HTTP/1.1 sends trailers after.
                if let Some(length) = length
                    && !trailers.is_empty()
                {
                    let headers = response.headers_mut();
                    headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
                }
                let record = self.record(&response, &bytes, kept.map(owned).collect());
                *response.body_mut() = match trailers.is_empty() {
                    true => Body::from(bytes),
                    false => with_trailers(bytes, trailers),
                };
                self.worth(response, record)
            }
            Captured::TooLarge { read } | Captured::TooSlow { read } => {
                let rest = mem::take(response.body_mut());
                *response.body_mut() = Body::new(Resumed::new(read, rest));
                self.unrecordable(response)
            }
            Captured::Failed { read, error } => {
                *response.body_mut() = Body::new(Resumed::<Body>::failed(read, error));
                self.unrecordable(response)
            }
        }
    }

    fn record(self, answer: &Response, body: &Bytes, trailers: Headers) -> Record {
        let length_apart = body.is_empty() || !trailers.is_empty();
        let headers = recorded(answer.headers(), &self.settings().unrecorded, length_apart);
        let head = Metadata::of_response(answer.status(), headers, trailers);
        // Not as a part of a larger buffer, which would live as long.
        Record::with_head(*self.fingerprint, head, Bytes::copy_from_slice(body))
    }

    /// An answer that can be given again.
    fn worth(self, answer: Box<Response>, record: Record) -> Verdict<Box<Response>> {
        match self.worth_of(&answer) {
            None => Verdict::Final { record, answer },
            Some(effect) => {
                Verdict::Transient { shared: Landing::Transient(Some(record)), answer, effect }
            }
        }
    }

    /// An answer that passes through: a stream, an upgrade, a body past its bounds or one that breaks off.
    #[cold]
    fn unrecordable(self, answer: Box<Response>) -> Verdict<Box<Response>> {
        match self.worth_of(&answer) {
            None => {
                let metadata = Metadata::Tombstone { status: Some(answer.status()) };
                let record = Record::new(*self.fingerprint, metadata, Bytes::new());
                Verdict::Final { record, answer }
            }
            Some(effect) => Verdict::Transient { shared: Landing::Transient(None), answer, effect },
        }
    }

    /// What a transient answer says of the operation's effect; `None` of a final one.
    fn worth_of(self, answer: &Response) -> Option<Effect> {
        let extensions = answer.extensions();
        if !extensions.is_empty() {
            if has::<NoEffect>(extensions) {
                return Some(Effect::None);
            }
            if has::<DoNotRecord>(extensions) {
                let by_status = worth_of(answer.status(), self.policy.record());
                return Some(by_status.unwrap_or(Effect::Possible));
            }
        }
        let effect = worth_of(answer.status(), self.policy.record())?;
        let retryable = is_retryable(answer.status()) && self.policy.halts();
        Some(if retryable { Effect::NotApplied } else { effect })
    }
}

/// [`Shape::worth_of`] by the status alone. An upgrade (101) is final: what follows on its connection
/// has begun.
fn worth_of(status: StatusCode, rule: RecordRule) -> Option<Effect> {
    let is_final = match rule {
        _ if status == StatusCode::SWITCHING_PROTOCOLS => true,
        _ if status.is_informational() => false,
        RecordRule::All => true,
        RecordRule::Success => status.is_success(),
        RecordRule::Final => {
            !(status.is_server_error()
                || status.is_client_error()
                    && (is_retryable(status) || asks_for_another_request(status)))
        }
    };
    let not_applied = status.is_client_error()
        && (rule == RecordRule::Success || asks_for_another_request(status));
    match (is_final, not_applied) {
        (true, _) => None,
        (false, true) => Some(Effect::NotApplied),
        (false, false) => Some(Effect::Possible),
    }
}

/// By their definition the request may be sent again as it is: RFC 9110, section 15.5.9; RFC 8470,
/// section 5.2; RFC 6585, section 4.
fn is_retryable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    )
}

/// By their definition the request was not applied, and another one (signed in, with a length, smaller,
/// under another condition) is asked for: RFC 9110, section 15.5; RFC 6585, sections 3 and 5; of 423,
/// RFC 4918, section 11.3.
fn asks_for_another_request(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::EXPECTATION_FAILED
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::LOCKED
            | StatusCode::UPGRADE_REQUIRED
            | StatusCode::PRECONDITION_REQUIRED
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    )
}
