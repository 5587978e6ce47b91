//! Which headers of an answer are recorded.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The values of a field, in their order. A message has few fields: comparing their names takes less
/// than hashing one.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
pub(crate) fn values<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(each, _)| *each == name).map(|(_, value)| value.as_bytes())
}

/// RFC 9110, section 7.6.1: whether a field belongs to one connection.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The headers of an answer that are given to everybody, in their order.
///
/// `Content-Length` follows from the body, unless it `stands_apart`: in an answer that tells a length
/// without having a body, as to `HEAD`, and in one with trailers, whose body says nothing of its length.
pub(crate) fn recorded<'a>(
    headers: &'a HeaderMap,
    unrecorded: &'a [HeaderName],
    stands_apart: bool,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let has_options = values(headers, &header::CONNECTION).next().is_some();
    let nominated = |name: &HeaderName| {
        values(headers, &header::CONNECTION).any(|value| {
            let mut options = value.split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
    };
    headers.iter().filter(move |(name, value)| match **name {
        header::CONTENT_LENGTH => stands_apart && *value != "0",
        _ => {
            !(is_hop_by_hop(name) || unrecorded.contains(name) || (has_options && nominated(name)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn names(headers: &[(&'static str, &'static str)], body_len: usize) -> Vec<String> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let settings = Settings::default();
        let recorded = recorded(&headers, &settings.unrecorded, body_len == 0);
        recorded.map(|(name, _)| name.as_str().to_owned()).collect()
    }

    /// CASES 20: what belongs to one answer or one connection is not given to another.
    #[test]
    fn per_response_and_hop_by_hop_headers_are_not_recorded() {
        let kept = names(
            &[
                ("content-type", "application/json"),
                ("set-cookie", "session=1"),
                ("date", "Sun, 22 Nov 2026 00:00:00 GMT"),
                ("connection", "close, X-Hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("trailer", "x-checksum"),
                ("server-timing", "db;dur=53"),
                ("traceparent", "00-0-0-00"),
                ("location", "/payments/1"),
                ("content-length", "7"),
            ],
            7,
        );
        // `Trailer` is not of one connection (RFC 9110, section 6.6.2): it names what ends the answer.
        assert_eq!(kept, ["content-type", "trailer", "location"]);
    }

    /// CASES 29: a length without a body is kept.
    #[test]
    fn a_length_without_a_body_is_recorded() {
        assert_eq!(names(&[("content-length", "7")], 0), ["content-length"]);
        assert!(names(&[("content-length", "0")], 0).is_empty());
    }
}
