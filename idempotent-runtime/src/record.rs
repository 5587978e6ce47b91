//! Records: what a store keeps of an operation that has ended.

mod heads;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use self::heads::{remember, seen, standalone};
use crate::fingerprint::Fingerprint;

/// Header fields in their order of arrival; a name may stand more than once.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// The stored outcome of one operation. Cloning it is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    fingerprint: Fingerprint,
    metadata: Arc<Metadata>,
    body: Bytes,
}

impl Record {
    /// A record of the request with `fingerprint`, whose answer is `metadata` and `body`. Both are
    /// copied where they may be parts of larger buffers, which would live as long as the record.
    #[allow(clippy::needless_pass_by_value)] // what callers have
    pub fn new(fingerprint: Fingerprint, metadata: Metadata, body: Bytes) -> Self {
        Self::with_head(fingerprint, metadata.kept_once(), Bytes::copy_from_slice(&body))
    }

    /// The same of a body that is an allocation of its own.
    pub(crate) fn of_own(fingerprint: Fingerprint, metadata: Metadata, body: Box<[u8]>) -> Self {
        Self::with_head(fingerprint, metadata.kept_once(), Bytes::from(body))
    }

    /// The same with a head that other records may have, too. The body is no part of a larger buffer.
    pub(crate) fn with_head(fingerprint: Fingerprint, head: Arc<Metadata>, body: Bytes) -> Self {
        Self(Arc::new(Inner { fingerprint, metadata: head, body }))
    }

    /// The fingerprint of the request that was executed.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// Everything about the answer but its body.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The body, byte for byte.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// Whether the operation ran but its answer cannot be given again.
    pub fn is_tombstone(&self) -> bool {
        matches!(*self.0.metadata, Metadata::Tombstone { .. })
    }

    /// How many bytes of content the record holds: body, header names and values.
    pub fn content_len(&self) -> usize {
        let fields = match self.metadata() {
            Metadata::Response { headers, trailers, .. } => headers.iter().chain(trailers),
            Metadata::Value | Metadata::Tombstone { .. } => return self.0.body.len(),
        };
        fields.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
            + self.0.body.len()
    }
}

impl fmt::Debug for Record {
    /// Shows no content: bodies and headers are the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("fingerprint", &self.0.fingerprint)
            .field("kind", &self.0.metadata.kind())
            .field("body_bytes", &self.0.body.len())
            .finish_non_exhaustive()
    }
}

/// Everything about a stored answer but its body.
///
/// Stores keep it as the text of [`to_json`](Self::to_json), so that people can read it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metadata {
    /// An HTTP response.
    Response {
        /// The status of the answer.
        status: StatusCode,
        /// The recorded headers.
        headers: Headers,
        /// The trailers, of the few answers that have some.
        trailers: Headers,
    },
    /// The value of a function, serialised in the body.
    Value,
    /// The operation ran, its answer cannot be given again.
    Tombstone {
        /// The status of the answer, where it was one of HTTP.
        status: Option<StatusCode>,
    },
}

impl fmt::Debug for Metadata {
    /// Shows the names of headers: their values are the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(self.kind());
        match self {
            Self::Response { status, headers, trailers } => {
                let names = |fields: &Headers| {
                    fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
                };
                shown.field("status", status);
                shown.field("headers", &names(headers)).field("trailers", &names(trailers));
            }
            Self::Value => {}
            Self::Tombstone { status } => drop(shown.field("status", status)),
        }
        shown.finish()
    }
}

/// What a [`Metadata`] could not be read from.
#[derive(Debug, thiserror::Error)]
#[error("stored metadata is not readable: {0}")]
pub struct MetadataError(Box<str>);

impl Metadata {
    /// Most answers of a service have one of a few heads, a status and a content type: records share
    /// these instead of keeping one each. A head with other fields is likely to be the only one.
    fn kept_once(mut self) -> Arc<Self> {
        let is_shared = self.own_fields() == 0;
        if is_shared && let Some(same) = seen(|seen| *seen == self) {
            return same;
        }
        if let Self::Response { headers, trailers, .. } = &mut self {
            for (_, value) in headers.iter_mut().chain(trailers) {
                *value = standalone(value);
            }
        }
        let kept = Arc::new(self);
        if is_shared {
            remember(&kept);
        }
        kept
    }

    /// The head of a response, [kept once](Self::kept_once). Most are found without making them.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn of_response<'a>(
        status: StatusCode,
        mut headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        trailers: Headers,
    ) -> Arc<Self> {
        let fields = [headers.next(), headers.next()];
        if let [Some((&header::CONTENT_TYPE, value)), None] = fields
            && trailers.is_empty()
            && !value.is_sensitive()
            && let Some(same) = seen(|seen| {
                matches!(seen, Self::Response { status: kept, headers, .. }
                    if *kept == status && headers.first().is_some_and(|(_, kept)| kept == value))
            })
        {
            return same;
        }
        let headers = fields.into_iter().flatten().chain(headers);
        let owned = headers.map(|(name, value)| (name.clone(), value.clone()));
        let mut headers: Headers = owned.collect();
        headers.shrink_to_fit();
        Self::Response { status, headers, trailers }.kept_once()
    }

    /// How many fields a record keeps by itself: none where its head is [kept once](Self::kept_once).
    pub(crate) fn own_fields(&self) -> usize {
        match self {
            Self::Response { headers, trailers, .. } if trailers.is_empty() => match &headers[..] {
                [(header::CONTENT_TYPE, value)] if !value.is_sensitive() => 0,
                fields => fields.len(),
            },
            Self::Response { headers, trailers, .. } => headers.len() + trailers.len(),
            Self::Value | Self::Tombstone { .. } => 0,
        }
    }

    /// `response`, `value` or `tombstone`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Response { .. } => "response",
            Self::Value => "value",
            Self::Tombstone { .. } => "tombstone",
        }
    }

    /// The text that stores keep: JSON with `kind`, `status`, `headers`, `trailers`. A header value
    /// that is not UTF-8 becomes an array of its bytes.
    pub fn to_json(&self) -> String {
        let stored = match self {
            Self::Response { status, headers, trailers } => Stored {
                kind: Kind::Response,
                status: Some(status.as_u16()),
                headers: headers.iter().map(field).collect(),
                trailers: trailers.iter().map(field).collect(),
            },
            Self::Value => Stored { kind: Kind::Value, status: None, ..Stored::default() },
            Self::Tombstone { status } => {
                Stored { status: status.map(|status| status.as_u16()), ..Stored::default() }
            }
        };
        // A struct of strings and numbers always serialises.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Reads the text of [`to_json`](Self::to_json).
    ///
    /// # Errors
    ///
    /// [`MetadataError`] when the text is truncated, foreign or tampered with. Nothing is guessed.
    pub fn from_json(text: &str) -> Result<Self, MetadataError> {
        let stored: Stored = serde_json::from_str(text).map_err(MetadataError::new)?;
        let status = stored.status.map(StatusCode::from_u16).transpose();
        let status = status.map_err(MetadataError::new)?;
        Ok(match stored.kind {
            Kind::Value => Self::Value,
            Kind::Tombstone => Self::Tombstone { status },
            Kind::Response => Self::Response {
                status: status.ok_or_else(|| MetadataError("a response has no status".into()))?,
                headers: stored.headers.into_iter().map(parsed).collect::<Result<_, _>>()?,
                trailers: stored.trailers.into_iter().map(parsed).collect::<Result<_, _>>()?,
            },
        })
    }
}

impl MetadataError {
    #[allow(clippy::needless_pass_by_value)] // the shape `map_err` wants
    fn new(source: impl fmt::Display) -> Self {
        Self(source.to_string().into())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Value)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, Value)>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Response,
    Value,
    #[default]
    Tombstone,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

fn field((name, value): &(HeaderName, HeaderValue)) -> (String, Value) {
    let value = match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes(value.as_bytes().to_owned()),
    };
    (name.as_str().to_owned(), value)
}

fn parsed((name, value): (String, Value)) -> Result<(HeaderName, HeaderValue), MetadataError> {
    let bytes = match value {
        Value::Text(text) => text.into_bytes(),
        Value::Bytes(bytes) => bytes,
    };
    Ok((
        HeaderName::from_bytes(name.as_bytes()).map_err(MetadataError::new)?,
        HeaderValue::from_maybe_shared(Bytes::from(bytes)).map_err(MetadataError::new)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Metadata {
        let header =
            |name, value| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        Metadata::Response {
            status: StatusCode::CREATED,
            headers: vec![
                header("location", b"/payments/1"),
                header("link", b"<a>"),
                header("link", b"<b>"),
                header("x-raw", b"\xff\xfe"),
            ],
            trailers: vec![header("x-checksum", b"1")],
        }
    }

    /// Sharing is by content, however many heads there are.
    #[test]
    fn a_status_and_a_content_type_are_kept_once_and_any_other_head_by_its_record() {
        let name = HeaderName::from_static("content-type");
        let head = |status, value| {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = vec![(name.clone(), HeaderValue::from_static(value))];
            let metadata = Metadata::Response { status, headers, trailers: Vec::new() };
            Record::new(Fingerprint::of(&1), metadata, Bytes::new())
        };
        let share = |one: &Record, two: &Record| Arc::ptr_eq(&one.0.metadata, &two.0.metadata);
        let created = head(201, "application/json");
        assert!(share(&created, &head(201, "application/json")));
        for other in [head(200, "application/json"), head(201, "text/plain")] {
            assert!(!share(&created, &other) && created.metadata() != other.metadata());
        }
        let statuses = || (200..300).map(|status| head(status, "text/plain"));
        for (one, two) in statuses().zip(statuses()) {
            assert_eq!(one.metadata(), two.metadata());
        }
        let location = || Metadata::Response {
            status: StatusCode::SEE_OTHER,
            headers: vec![(header::LOCATION, HeaderValue::from_static("/payments/1"))],
            trailers: Vec::new(),
        };
        let sensitive = || {
            let mut value = HeaderValue::from_static("application/json");
            value.set_sensitive(true);
            let headers = vec![(header::CONTENT_TYPE, value)];
            Metadata::Response { status: StatusCode::CREATED, headers, trailers: Vec::new() }
        };
        assert_eq!((location().own_fields(), response().own_fields()), (1, 5));
        for metadata in [location(), response(), sensitive()] {
            let own = || Record::new(Fingerprint::of(&1), metadata.clone(), Bytes::new());
            assert!(!share(&own(), &own()) && own() == own());
        }
    }

    /// Whether a head was seen before or not, it is the head of its own answer.
    #[test]
    fn the_head_of_a_response_is_its_own() {
        let of = |status, headers: &[(&'static str, &'static str)], trailers| {
            let fields: Headers = headers
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            let status = StatusCode::from_u16(status).unwrap();
            let borrowed = fields.iter().map(|(name, value)| (name, value));
            let head = Metadata::of_response(status, borrowed, Headers::clone(&trailers));
            assert_eq!(*head, Metadata::Response { status, headers: fields, trailers });
            head
        };
        let trailer = vec![(header::ETAG, HeaderValue::from_static("1"))];
        let json = ("content-type", "application/json");
        for _ in 0..2 {
            for status in [200, 201] {
                of(status, &[], Vec::new());
                of(status, &[json], Vec::new());
                of(status, &[("content-type", "text/plain")], Vec::new());
                of(status, &[("location", "application/json")], Vec::new());
                of(status, &[json, ("location", "/1"), ("link", "<a>")], Vec::new());
                of(status, &[json, json], Vec::new());
                of(status, &[json], trailer.clone());
            }
            assert!(Arc::ptr_eq(&of(200, &[json], Vec::new()), &of(200, &[json], Vec::new())));
        }
    }

    /// CASES 76: what is charged is what is kept.
    #[test]
    fn a_record_keeps_no_buffer_that_its_parts_were_cut_from() {
        let buffer = Arc::new([b'a'; 64]);
        let part = || Bytes::from_owner(Shared(Arc::clone(&buffer))).slice(1..9);
        let field = |name| (name, HeaderValue::from_maybe_shared(part()).unwrap());
        let heads = [
            Metadata::Response {
                status: StatusCode::CREATED,
                headers: vec![field(header::CONTENT_TYPE)],
                trailers: Vec::new(),
            },
            Metadata::Response {
                status: StatusCode::CREATED,
                headers: vec![field(header::LOCATION), field(header::LINK)],
                trailers: vec![field(header::ETAG)],
            },
            Metadata::Value,
        ];
        let records = heads.map(|head| Record::new(Fingerprint::of(&1), head, part()));
        assert!(records.iter().all(|record| record.body() == &part()));
        assert_eq!(Arc::strong_count(&buffer), 1);
    }

    /// An owner of bytes whose copies can be counted.
    struct Shared(Arc<[u8; 64]>);

    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    #[test]
    fn metadata_survives_its_text_with_repeated_and_non_utf8_headers() {
        for metadata in [
            response(),
            Metadata::Value,
            Metadata::Tombstone { status: None },
            Metadata::Tombstone { status: Some(StatusCode::OK) },
        ] {
            assert_eq!(Metadata::from_json(&metadata.to_json()).unwrap(), metadata);
        }
    }

    /// CASES 40: truncated, foreign or tampered text is an error, at every cut.
    #[test]
    fn garbage_metadata_is_an_error_at_every_cut() {
        let text = response().to_json();
        for cut in 0..text.len() {
            assert!(Metadata::from_json(&text[..cut]).is_err());
        }
        for foreign in [
            "null",
            "{}",
            r#"{"kind":"other"}"#,
            r#"{"kind":"response"}"#,
            r#"{"kind":"response","status":42}"#,
            r#"{"kind":"response","status":200,"headers":[["a b","c"]]}"#,
            r#"{"kind":"response","status":200,"headers":[["a","b\nc"]]}"#,
            r#"{"kind":"response","status":200,"headers":[["a",[300]]]}"#,
        ] {
            assert!(Metadata::from_json(foreign).is_err(), "{foreign}");
        }
    }
}
