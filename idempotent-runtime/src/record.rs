//! Records: what a store keeps of an operation that has ended.

use std::{cell::RefCell, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

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
    /// A record of the request with `fingerprint`, whose answer is `metadata` and `body`.
    pub fn new(fingerprint: Fingerprint, metadata: Metadata, body: Bytes) -> Self {
        Self(Arc::new(Inner { fingerprint, metadata: metadata.kept_once(), body }))
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
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// What a [`Metadata`] could not be read from.
#[derive(Debug, thiserror::Error)]
#[error("stored metadata is not readable: {0}")]
pub struct MetadataError(Box<str>);

impl Metadata {
    /// Most answers of a service have one of a few heads, a status and a content type: records share
    /// these instead of keeping one each. A head with more fields is likely to be the only one.
    fn kept_once(self) -> Arc<Self> {
        /// How many heads a thread remembers.
        const HEADS: usize = 4;
        thread_local! {
            static SEEN: RefCell<([Option<Arc<Metadata>>; HEADS], usize)> =
                const { RefCell::new(([const { None }; HEADS], 0)) };
        }
        if matches!(&self, Self::Response { headers, trailers, .. }
            if headers.len() > 1 || !trailers.is_empty())
        {
            return Arc::new(self);
        }
        let same = SEEN.try_with(|seen| {
            let seen = seen.borrow();
            seen.0.iter().flatten().find(|seen| ***seen == self).map(Arc::clone)
        });
        if let Ok(Some(same)) = same {
            return same;
        }
        let kept = Arc::new(self);
        // At the end of its thread it remembers nothing.
        let _ = SEEN.try_with(|seen| {
            let (heads, next) = &mut *seen.borrow_mut();
            heads[*next] = Some(Arc::clone(&kept));
            *next = (*next + 1) % HEADS;
        });
        kept
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
                headers: stored.headers.into_iter().map(header).collect::<Result<_, _>>()?,
                trailers: stored.trailers.into_iter().map(header).collect::<Result<_, _>>()?,
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

fn header((name, value): (String, Value)) -> Result<(HeaderName, HeaderValue), MetadataError> {
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
    fn a_head_of_few_fields_is_kept_once_and_any_other_by_its_record() {
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
        let whole = || Record::new(Fingerprint::of(&1), response(), Bytes::new());
        assert!(!share(&whole(), &whole()) && whole() == whole());
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
