//! What the guard keeps of a request's head.

use std::iter;

use http::{HeaderMap, Uri};

/// Path, query and fields of a request, in one buffer: a
/// whole header map is dear to clone, and what is kept of it is read once. Shows nothing of it.
pub(crate) struct Head {
    text: Vec<u8>,
    path_end: usize,
    query_end: Option<usize>,
}

impl Head {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        /// Enough for most: a path, a key and a session.
        const TYPICAL: usize = 256;
        let mut text = Vec::with_capacity(TYPICAL);
        text.extend_from_slice(uri.path().as_bytes());
        let path_end = text.len();
        let query_end = uri.query().map(|query| {
            text.extend_from_slice(query.as_bytes());
            text.len()
        });
        for (name, value) in headers {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            text.extend_from_slice(&name.len().to_ne_bytes());
            text.extend_from_slice(&value.len().to_ne_bytes());
            text.extend_from_slice(name);
            text.extend_from_slice(value);
        }
        Self { text, path_end, query_end }
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.text[..self.path_end]
    }

    pub(crate) fn query(&self) -> Option<&[u8]> {
        self.query_end.map(|end| &self.text[self.path_end..end])
    }

    /// The values of a field, in their order.
    pub(crate) fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |(kept, _)| *kept == name.as_bytes()).map(|(_, value)| value)
    }

    /// All that is kept, in its order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.text[self.query_end.unwrap_or(self.path_end)..];
        iter::from_fn(move || {
            let (name, after) = rest.split_first_chunk()?;
            let (value, after) = after.split_first_chunk()?;
            let (name, after) = after.split_at_checked(usize::from_ne_bytes(*name))?;
            let (value, after) = after.split_at_checked(usize::from_ne_bytes(*value))?;
            rest = after;
            Some((name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_is_kept_is_read_back_byte_for_byte() {
        let mut headers = HeaderMap::new();
        let long = vec![b'c'; 70_000];
        let fields: [(&'static str, &[u8]); 5] = [
            ("cookie", b"a=1"),
            ("content-type", b"text/plain"),
            ("cookie", b"\xff\xfe"),
            ("x-empty", b""),
            ("authorization", &long),
        ];
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        for (uri, path, query) in [
            ("/a/b?c=d", "/a/b", Some("c=d")),
            ("/a/b?", "/a/b", Some("")),
            ("/a/b", "/a/b", None),
            ("https://host/?q", "/", Some("q")),
        ] {
            let head = Head::of(&uri.parse().unwrap(), &headers);
            assert_eq!(head.path(), path.as_bytes());
            assert_eq!(head.query(), query.map(str::as_bytes));
            let values =
                |name| -> Vec<Vec<u8>> { head.get_all(name).map(<[u8]>::to_vec).collect() };
            assert_eq!(values("cookie"), [b"a=1".as_slice(), b"\xff\xfe"]);
            assert_eq!(values("x-empty"), [b""]);
            assert_eq!(values("authorization"), [long.as_slice()]);
            assert_eq!(values("content-type"), [b"text/plain"]);
            assert!(values("x-other").is_empty());
        }
    }
}
