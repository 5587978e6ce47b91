//! What the guard keeps of a request while the handler's arguments are taken from it.

use std::{borrow::Cow, fmt, mem};

use axum::{
    body::Body,
    extract::{MatchedPath, OriginalUri, Request},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, request::Parts};

use super::{answer::with_trailers, call::Options};
use crate::{
    attempt::AttemptSlot,
    http::{head::Head, key_header::key_header, problem::Problem},
    idempotency::Idempotency,
    key_part::KeyEncoder,
    request_fields::Fields,
};

/// What is kept of a request; `None` where a handler is called directly.
pub struct Guard(pub(super) Option<Box<Kept>>);

pub(super) struct Kept {
    head: RequestHead,
    pub(super) body: Bytes,
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) runtime: Option<Idempotency>,
    /// Where an argument wants to know its attempt.
    pub(super) attempt: Option<AttemptSlot>,
    pub(super) options: Options,
}

/// The head of a request.
enum RequestHead {
    /// As it came, until an extractor takes it.
    Whole(Parts),
    /// What is left of it then.
    Left { method: Method, head: Head, route: Option<MatchedPath> },
}

impl Kept {
    pub(super) fn new(parts: Parts, runtime: Option<Idempotency>) -> Self {
        let attempt = parts.extensions.get().cloned();
        Self {
            head: RequestHead::Whole(parts),
            body: Bytes::new(),
            trailers: None,
            runtime,
            attempt,
            options: Options::default(),
        }
    }

    /// The request whole, once, for the extractor that takes it.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        let RequestHead::Whole(parts) = &self.head else { return None };
        let head = Head::of(uri(parts), &parts.headers);
        let (method, route) = (parts.method.clone(), parts.extensions.get().cloned());
        let left = RequestHead::Left { method, head, route };
        let RequestHead::Whole(parts) = mem::replace(&mut self.head, left) else { return None };
        let body = self.body.clone();
        let body = match self.trailers.take() {
            Some(trailers) => with_trailers(body, *trailers),
            None => Body::from(body),
        };
        Some(Request::from_parts(parts, body))
    }

    /// The last argument asked for its attempt, or did not.
    pub(super) fn note(&mut self, asked: Option<AttemptSlot>) {
        self.attempt = self.attempt.take().or(asked);
    }

    /// The body and its trailers. No fingerprint is made of the body afterwards.
    pub(super) fn take_body(&mut self) -> (Bytes, Option<HeaderMap>) {
        (mem::take(&mut self.body), self.trailers.take().map(|trailers| *trailers))
    }

    /// The header fields, while the request is whole.
    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        match &self.head {
            RequestHead::Whole(parts) => Some(&parts.headers),
            RequestHead::Left { .. } => None,
        }
    }

    pub(super) fn method(&self) -> &Method {
        match &self.head {
            RequestHead::Whole(Parts { method, .. }) | RequestHead::Left { method, .. } => method,
        }
    }

    /// Path and query, as they were asked for.
    pub(super) fn target(&self) -> (&[u8], Option<&[u8]>) {
        match &self.head {
            RequestHead::Whole(parts) => {
                let uri = uri(parts);
                (uri.path().as_bytes(), uri.query().map(str::as_bytes))
            }
            RequestHead::Left { head, .. } => (head.path(), head.query()),
        }
    }

    /// The template that the router matched.
    pub(super) fn route(&self) -> Option<&MatchedPath> {
        match &self.head {
            RequestHead::Whole(parts) => parts.extensions.get(),
            RequestHead::Left { route, .. } => route.as_ref(),
        }
    }

    /// The key in the field `name`.
    pub(super) fn key_header<'a>(&'a self, name: &'a str) -> Result<Cow<'a, str>, Problem> {
        match &self.head {
            RequestHead::Whole(parts) => {
                let fields = parts.headers.iter().filter(|(each, _)| *each == name);
                key_header(fields.map(|(_, value)| value.as_bytes()))
            }
            RequestHead::Left { head, .. } => key_header(head.get_all(name)),
        }
    }

    /// Writes the header fields of these names.
    pub(super) fn encode_named(&self, names: &[&str], encoder: &mut KeyEncoder) {
        for name in names {
            let mut write = |(each, value): (&[u8], &[u8])| {
                if each == name.as_bytes() {
                    encoder.text(name);
                    encoder.bytes(value);
                }
            };
            match &self.head {
                RequestHead::Whole(parts) => {
                    for (name, value) in &parts.headers {
                        write((name.as_str().as_bytes(), value.as_bytes()));
                    }
                }
                RequestHead::Left { head, .. } => head.fields().for_each(write),
            }
        }
    }

    /// Writes the header fields that are of `these`; answers whether there was one.
    pub(super) fn encode(&self, these: &Fields, encoder: &mut KeyEncoder) -> bool {
        match &self.head {
            RequestHead::Whole(parts) => {
                let fields = || {
                    let fields = parts.headers.iter();
                    fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
                };
                these.encode(fields, encoder)
            }
            RequestHead::Left { head, .. } => these.encode(|| head.fields(), encoder),
        }
    }
}

/// The address that was asked for, also where the handler's router is nested in another.
fn uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
