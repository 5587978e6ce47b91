//! A JSON text by its value: for clients that serialise the same request anew.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::digest;

/// The digest of a text by its value: neither the order of members nor white space counts, nor how a
/// character is escaped. `None` where two different texts might have one value: what is no JSON, has a
/// member twice, or a number of more digits than an `f64` keeps. Such a text counts byte for byte.
pub(crate) fn digest_of_json(text: &[u8]) -> Option<[u8; 32]> {
    if has_inexact_number(text) {
        return None;
    }
    serde_json::from_slice::<Exact>(text).ok().map(|Exact(value)| digest(&value))
}

/// Whether a number may be told apart by its text and not by its value: 15 digits are told apart by an
/// `f64` in the range of two digits of exponent, 18 by an `i64`, 19 by an `u64`.
fn has_inexact_number(text: &[u8]) -> bool {
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => loop {
                match rest.next() {
                    Some(b'\\') => drop(rest.next()),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            b'-' | b'0'..=b'9' => {
                let is_negative = byte == b'-';
                let mut digits = usize::from(!is_negative);
                let (mut is_float, mut exponent) = (false, None);
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                while let Some(byte) = rest.next_if(is_part) {
                    match byte {
                        b'0'..=b'9' => match &mut exponent {
                            Some(exponent) => *exponent += 1,
                            None => digits += 1,
                        },
                        b'e' | b'E' => (is_float, exponent) = (true, Some(0)),
                        b'.' => is_float = true,
                        _ => {}
                    }
                }
                let most = match (is_float, is_negative) {
                    (true, _) => 15,
                    (false, true) => 18,
                    (false, false) => 19,
                };
                if digits > most || exponent.is_some_and(|digits| digits > 2) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// A value in which no member was there twice.
struct Exact(Value);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExactVisitor).map(Self)
    }
}

struct ExactVisitor;

impl<'de> Visitor<'de> for ExactVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Exact(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Exact(value))) = members.next_entry::<String, Exact>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(text: &str) -> Option<[u8; 32]> {
        digest_of_json(text.as_bytes())
    }

    #[test]
    fn order_white_space_and_escapes_do_not_count() {
        let one = digest_of(r#"{"a":1,"b":{"c":[1,2.50,"x"],"d":null}}"#);
        assert!(one.is_some());
        for same in [
            "{\n  \"b\": {\"d\": null, \"c\": [1, 2.5, \"x\"]},\n  \"a\": 1\n}\n",
            r#"{"\u0061":1,"b":{"c":[1,25e-1,"\u0078"],"d":null}}"#,
        ] {
            assert_eq!(digest_of(same), one, "{same}");
        }
        for other in [
            r#"{"a":2,"b":{"c":[1,2.5,"x"],"d":null}}"#,
            r#"{"a":1,"b":{"c":[2.5,1,"x"],"d":null}}"#,
            r#"{"a":1,"b":{"c":[1,2.5,"x"]}}"#,
            r#"{"a":"1","b":{"c":[1,2.5,"x"],"d":null}}"#,
            r#"{"a":1,"b":{"c":[1,2.5,"X"],"d":null}}"#,
            r#"{"a":1.0,"b":{"c":[1,2.5,"x"],"d":null}}"#,
        ] {
            assert!(digest_of(other).is_some_and(|other| Some(other) != one), "{other}");
        }
    }

    /// Two texts that a parser cannot tell apart are told apart by their bytes.
    #[test]
    fn what_might_be_two_values_has_none() {
        for text in [
            "",
            "{",
            "{} {}",
            "nan",
            "[1,]",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"[{"b":{"a":1,"a":1}}]"#,
            "1.0000000000000001",
            "0.30000000000000004",
            "12345678901234567890",
            "-1234567890123456789",
            "1e-400",
            "[1,2,3e100]",
            r#"{"\"1":12345678901234567890}"#,
        ] {
            assert_eq!(digest_of(text), None, "{text}");
        }
        let digits_in_text = r#"{"12345678901234567890":"\"-1234567890123456789","n":-7}"#;
        for text in [
            digits_in_text,
            "1234567890123456789",
            "-123456789012345678",
            "0.12345678901234",
            "1e99",
        ] {
            assert!(digest_of(text).is_some(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(digest_of(&deep), None);
    }
}
