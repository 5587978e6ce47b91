//! The idempotency key as a header field.
//!
//! draft-ietf-httpapi-idempotency-key-header-07, section 2.1, makes the value an RFC 8941 String:
//! `"8e03978e"`. Many clients send it bare: `8e03978e`. Both are taken, and are one key.

use std::borrow::Cow;

use sfv::{BareItem, Item, Parser};

use super::problem::Problem;

/// Longest key, in characters.
const MAX_LEN: usize = 255;

/// The key in a field with these values, without its quotes.
pub(crate) fn key_header<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Cow<'a, str>, Problem> {
    let value = values.next().ok_or(Problem::KeyMissing)?;
    if values.next().is_some() {
        return Err(Problem::KeyInvalid("the header stands more than once"));
    }
    // RFC 9110, section 5.5: white space around a field value is not part of it.
    let key = parse(value.trim_ascii())?;
    match key.len() {
        0 => Err(Problem::KeyInvalid("the key is empty")),
        len if len > MAX_LEN => Err(Problem::KeyInvalid("the key is longer than 255 characters")),
        _ => Ok(key),
    }
}

fn parse(value: &[u8]) -> Result<Cow<'_, str>, Problem> {
    if value.first() == Some(&b'"') {
        return match Parser::new(value).parse::<Item>() {
            Ok(Item { bare_item: BareItem::String(key), params }) if params.is_empty() => {
                Ok(Cow::Owned(key.into()))
            }
            _ => Err(Problem::KeyInvalid(
                "a value that begins with a quote must be exactly one String of RFC 8941",
            )),
        };
    }
    // All of them and not up to the first that is not: many bytes are looked at in one step.
    let visible = value.iter().fold(true, |visible, byte| visible & byte.is_ascii_graphic());
    match std::str::from_utf8(value) {
        Ok(key) if visible => Ok(Cow::Borrowed(key)),
        _ => Err(Problem::KeyInvalid(
            "a key consists of visible ASCII characters; one with spaces has to be quoted",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&[u8]]) -> Result<String, Problem> {
        key_header(values.iter().copied()).map(Cow::into_owned)
    }

    /// CASES 39: quotes, escapes, commas, percent signs and outer spaces in keys that are taken.
    #[test]
    fn bare_and_quoted_keys_are_one_key() {
        let taken: [(&[u8], &str); 9] = [
            (b"abc", "abc"),
            (b"\"abc\"", "abc"),
            (b"  abc ", "abc"),
            (b" \"abc\" ", "abc"),
            (b"\"a b\"", "a b"),
            (br#""a\"b\\c""#, r#"a"b\c"#),
            (b"a,b;c=d", "a,b;c=d"),
            (b"50%25", "50%25"),
            (b"a\"b", "a\"b"),
        ];
        for (value, expected) in taken {
            assert_eq!(key(&[value]).unwrap(), expected);
        }
        assert_eq!(key(&[&[b'k'; 255]]).unwrap().len(), 255);
        let quoted = [b"\"", vec![b'k'; 255].as_slice(), b"\""].concat();
        assert_eq!(key(&[&quoted]).unwrap().len(), 255);
    }

    /// CASES 39: what is refused.
    #[test]
    fn malformed_keys_are_refused() {
        let refused: [&[u8]; 14] = [
            b"",
            b"   ",
            b"\"\"",
            b"\"abc",
            b"\"abc\"x",
            b"\"a\", \"b\"",
            b"\"abc\";p=1",
            b"\"a\\nb\"",
            b"a b",
            b"a\tb",
            b"caf\xc3\xa9",
            b"\xff\xfe",
            b"\"caf\xc3\xa9\"",
            &[b'k'; 256],
        ];
        for value in refused {
            assert!(matches!(key(&[value]), Err(Problem::KeyInvalid(_))), "{value:?}");
        }
        assert!(matches!(key(&[b"a", b"a"]), Err(Problem::KeyInvalid(_))));
        assert!(matches!(key(&[]), Err(Problem::KeyMissing)));
    }
}
