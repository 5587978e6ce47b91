//! Fingerprints: whether two requests under one key are the same request.

use std::fmt;

use crate::{
    key::write_hex,
    key_part::{KeyEncoder, KeyPart},
};

/// 32-byte digest of a request, compared whenever a key is seen again.
///
/// Frozen within a major version, like [`StorageKey`](crate::StorageKey).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// A digest of any value, for functions and tests.
    pub fn of<K: KeyPart + ?Sized>(part: &K) -> Self {
        let mut encoder = KeyEncoder::new(b'V');
        part.encode(&mut encoder);
        Self(encoder.digest(None, &[]))
    }

    /// A fingerprint from the 32 bytes that a store kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(")?;
        write_hex(f, &self.0[..4])?;
        f.write_str(")")
    }
}

/// The parts of a request that its fingerprint is made of.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
#[derive(Debug)]
pub(crate) struct RequestDigest<'a, C, P> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a [u8],
    pub(crate) content: Content<'a>,
    /// Writes the fields that say who asks; `None` where a scope says
    /// whose key it is.
    pub(crate) credentials: Option<C>,
    /// Writes the fields that decide about the effect.
    pub(crate) preconditions: P,
}

/// What stands for the payload.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
pub(crate) enum Content<'a> {
    /// Query and raw body.
    Raw { query: Option<&'a [u8]>, body: &'a [u8] },
    /// Query, and the body by its value as JSON: the digest of that.
    Json { query: Option<&'a [u8]>, digest: [u8; 32] },
    /// The value of `fingerprint = …`, which replaces both.
    Expression(&'a [u8; 32]),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw { .. } => "Raw",
            Self::Json { .. } => "Json",
            Self::Expression(_) => "Expression",
        })
    }
}

impl<C: FnOnce(&mut KeyEncoder), P: FnOnce(&mut KeyEncoder)> RequestDigest<'_, C, P> {
    /// Digests the request, in an encoder that was used before.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn fingerprint(
        self,
        encoder: &mut KeyEncoder,
        secret: Option<&[u8; 32]>,
    ) -> Fingerprint {
        encoder.restart(b'F');
        encoder.text(self.method);
        encoder.text_bytes(self.path);
        match self.credentials {
            None => encoder.absent(),
            Some(write) => {
                write(encoder);
                encoder.list(0);
            }
        }
        (self.preconditions)(encoder);
        encoder.list(0);
        let tail = match self.content {
            Content::Expression(digest) => {
                encoder.bytes(digest);
                &[]
            }
            Content::Json { query, digest } => {
                write_query(query, encoder);
                // No length is written so: what is raw is never taken for it.
                encoder.map(1);
                encoder.bytes(&digest);
                &[]
            }
            Content::Raw { query, body } => {
                write_query(query, encoder);
                encoder.length(body.len());
                body
            }
        };
        Fingerprint(encoder.digest(secret, tail))
    }
}

fn write_query(query: Option<&[u8]>, encoder: &mut KeyEncoder) {
    match query {
        Some(query) => encoder.text_bytes(query),
        None => encoder.absent(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Credentials = [(&'static str, &'static [u8]); 1];

    fn fingerprint(query: Option<&str>, body: &[u8], credentials: Option<Credentials>) -> String {
        RequestDigest {
            method: "POST",
            path: b"/accounts/1/deposit",
            content: Content::Raw { query: query.map(str::as_bytes), body },
            credentials: credentials.map(|values| {
                move |encoder: &mut KeyEncoder| {
                    for (name, value) in values {
                        encoder.text(name);
                        encoder.bytes(value);
                    }
                }
            }),
            preconditions: |_: &mut KeyEncoder| {},
        }
        .fingerprint(&mut KeyEncoder::new(b'F'), None)
        .to_string()
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let all = [
            fingerprint(None, b"", None),
            fingerprint(Some(""), b"", None),
            fingerprint(Some("a"), b"", None),
            fingerprint(None, b"a", None),
            fingerprint(None, b"", Some([("authorization", b"a")])),
            fingerprint(None, b"", Some([("authorization", b"b")])),
            fingerprint(None, b"", Some([("cookie", b"a")])),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    /// CASES 24: bodies of every size have a digest of their own, and the same one each time.
    #[test]
    fn bodies_of_every_size_digest_by_content() {
        for len in [1, 64, 900, 1024, 1025, 65_536, 3_000_000] {
            let body = vec![b'x'; len];
            let mut other = body.clone();
            other[len / 2] = b'y';
            assert_eq!(fingerprint(None, &body, None), fingerprint(None, &body, None));
            assert_ne!(fingerprint(None, &body, None), fingerprint(None, &other, None));
            assert_ne!(fingerprint(None, &body, None), fingerprint(None, b"", None));
        }
    }

    /// CASES 55: an upgrade must not change how fingerprints are derived.
    #[test]
    fn golden_vectors_of_fingerprints() {
        assert_eq!(fingerprint(Some("q=1"), b"{}", None), GOLDEN[0]);
        assert_eq!(fingerprint(None, b"", Some([("authorization", b"Bearer x")])), GOLDEN[1]);
        assert_eq!(Fingerprint::of(&("a", 1)).to_string(), GOLDEN[2]);
    }

    const GOLDEN: [&str; 3] = [
        "482573793e4cd5cb39972a2dde7ea5d7e7b9b8842256d77e05f66d94d197d9cb",
        "1d485cb21c001cd1c358af8664511f41c8e8a972ed53a6918cfcd0e3d709a8fb",
        "2c214db23b7f5cc30958b827a7119c15918e970a426e84af2d390a1de40d9354",
    ];
}
