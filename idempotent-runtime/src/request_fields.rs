//! Which fields of a request are part of its fingerprint: those that say who asks, and those that
//! decide about the effect.
#![cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only

use http::HeaderName;

use crate::key_part::KeyEncoder;

/// The fields by which clients, gateways and identity-aware proxies say who asks, in the order of the
/// alphabet.
const CREDENTIALS: &[&str] = &[
    "authorization",
    "cf-access-jwt-assertion",
    "cookie",
    "dpop",
    "proxy-authorization",
    "remote-user",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
    "x-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-user",
    "x-goog-iap-jwt-assertion",
    "x-remote-user",
    "x-tenant-id",
    "x-user-id",
];

/// The same, by how their names begin.
const CREDENTIAL_PREFIXES: &[&str] = &[
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-ssl-client-",
];

/// RFC 9110, section 13.1: a retry under another condition is another request. (`If-Range` is about
/// ranges of an answer, which have no effect.)
const PRECONDITIONS: &[&str] =
    &["if-match", "if-modified-since", "if-none-match", "if-unmodified-since"];

const DPOP: &[u8] = b"dpop";

/// A set of field names. Most fields of most requests are in none, which is told by their first letter
/// and their length.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    /// For each first letter the lengths of names, one bit each.
    shapes: [u64; 26],
    names: Vec<Box<str>>,
    prefixes: &'static [&'static str],
}

impl Fields {
    /// The fields that say who asks.
    pub(crate) fn credentials() -> Self {
        Self::new(CREDENTIALS, CREDENTIAL_PREFIXES)
    }

    /// The fields that decide about the effect.
    pub(crate) fn preconditions() -> Self {
        Self::new(PRECONDITIONS, &[])
    }

    pub(crate) fn none() -> Self {
        Self::new(&[], &[])
    }

    fn new(names: &[&str], prefixes: &'static [&'static str]) -> Self {
        let mut fields = Self { shapes: [0; 26], names: Vec::new(), prefixes };
        for name in names {
            fields.add(name);
        }
        for prefix in prefixes {
            // Of this length and longer.
            let longer = u64::MAX << prefix.len().min(63);
            if let Some(shape) = letter(prefix.as_bytes()).and_then(|at| fields.shapes.get_mut(at))
            {
                *shape |= longer;
            }
        }
        fields
    }

    pub(crate) fn extend(&mut self, names: impl IntoIterator<Item = HeaderName>) {
        for name in names {
            self.add(name.as_str());
        }
    }

    fn add(&mut self, name: &str) {
        if let Some(shape) = letter(name.as_bytes()).and_then(|at| self.shapes.get_mut(at)) {
            *shape |= 1 << name.len().min(63);
        }
        if let Err(at) = self.names.binary_search_by(|each| (**each).cmp(name)) {
            self.names.insert(at, name.into());
        }
    }

    /// The names that are written out.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether a field is one of these; names are in lower case.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let shape = letter(name).map_or(u64::MAX, |at| self.shapes[at]);
        shape >> name.len().min(63) & 1 == 1 && self.look_up(name)
    }

    fn look_up(&self, name: &[u8]) -> bool {
        self.names.binary_search_by(|each| each.as_bytes().cmp(name)).is_ok()
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
    }

    /// Writes the fields that are of these, in the order of their names; answers whether there was one.
    pub(crate) fn encode<'a, I>(&self, fields: impl Fn() -> I, encoder: &mut KeyEncoder) -> bool
    where
        I: Iterator<Item = (&'a [u8], &'a [u8])>,
    {
        let mut last: Option<&[u8]> = None;
        loop {
            let of_these = fields().map(|(name, _)| name).filter(|name| self.has(name));
            let next = of_these.filter(|name| last.is_none_or(|last| *name > last)).min();
            let Some(next) = next else { return last.is_some() };
            for (_, value) in fields().filter(|(name, _)| *name == next) {
                encoder.text_bytes(next);
                encoder.bytes(if next == DPOP { dpop_key(value) } else { value });
            }
            last = Some(next);
        }
    }
}

/// The place of the first letter in the alphabet.
fn letter(name: &[u8]) -> Option<usize> {
    let first = *name.first()?;
    first.is_ascii_lowercase().then(|| usize::from(first - b'a'))
}

/// RFC 9449, section 4.2: a proof is new in each request, and its header, which has the public key, is
/// that of the client. What is no proof is taken whole.
fn dpop_key(proof: &[u8]) -> &[u8] {
    let mut parts = proof.split(|byte| *byte == b'.');
    match (parts.next(), parts.count()) {
        (Some(header), 2) if !header.is_empty() => header,
        _ => proof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_the_order_of_the_alphabet() {
        for list in [CREDENTIALS, CREDENTIAL_PREFIXES, PRECONDITIONS] {
            assert!(list.is_sorted() && list.iter().all(|name| !name.is_empty()));
            assert!(list.iter().all(|name| name.to_lowercase() == **name));
        }
    }

    #[test]
    fn fields_are_known_by_name_and_by_how_their_names_begin() {
        let mut fields = Fields::credentials();
        fields.extend([HeaderName::from_static("x-account"), HeaderName::from_static("0-tenant")]);
        let long = format!("x-auth-request-{}", "x".repeat(80));
        let known = ["authorization", "x-ms-token-aad-id-token", "x-account", "0-tenant", &long];
        for name in known.iter().chain(CREDENTIALS) {
            assert!(fields.has(name.as_bytes()), "{name}");
        }
        let unknown =
            ["", "a", "accept", "content-type", "x-account-", "x-auth-reques", "x-amzn-oid"];
        for name in unknown {
            assert!(!fields.has(name.as_bytes()), "{name}");
        }
        assert!(!Fields::none().has(b"authorization") && !Fields::none().has(b"0"));
    }

    #[test]
    fn fields_are_written_in_the_order_of_their_names() {
        type Field<'a> = (&'a [u8], &'a [u8]);
        let written = |fields: &[Field<'_>]| {
            let mut encoder = KeyEncoder::new(b'F');
            let found = Fields::credentials().encode(|| fields.iter().copied(), &mut encoder);
            (found, encoder.into_bytes())
        };
        let cookie: Field<'_> = (b"cookie", b"a=1");
        let user: Field<'_> = (b"x-user-id", b"7");
        let host: Field<'_> = (b"host", b"localhost");
        assert_eq!(written(&[user, host, cookie]), written(&[cookie, user]));
        assert_ne!(written(&[cookie, user]), written(&[cookie]));
        let again: Field<'_> = (b"cookie", b"b=2");
        assert_ne!(written(&[cookie, again]), written(&[again, cookie]));
        assert!(written(&[user]).0 && !written(&[host]).0);
    }

    #[test]
    fn of_a_dpop_proof_the_header_counts() {
        assert_eq!(dpop_key(b"key.payload.signature"), b"key");
        for whole in [&b"key.payload"[..], b"key", b"", b".a.b", b"a.b.c.d"] {
            assert_eq!(dpop_key(whole), whole);
        }
    }
}
