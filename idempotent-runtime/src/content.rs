//! Content keys: when what is asked for is its own name.

#[cfg(feature = "axum")]
mod json;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

#[cfg(feature = "axum")]
pub(crate) use self::json::digest_of_json;

use crate::{
    key::write_hex,
    key_part::{KeyEncoder, KeyPart},
};

/// The digest of a value, to use as an idempotency key where a message has no id of its own: what
/// `key = hash(event)` stands for.
///
/// The value is digested in the form that serde gives it in JSON, with the members of every object in
/// the order of their names: neither the order of fields nor that of a `HashMap` counts, a renamed
/// field does, a field with `#[serde(skip)]` does not exist. The order of a list counts, and a
/// `HashSet` is one whose order is another each time, so that **it has no stable key**: use a
/// `BTreeSet`. JSON has no `NaN` and no infinity; all of them are `null`.
///
/// # The danger
///
/// **Two equal orders are one.** A customer who orders the same thing twice within the `ttl` gets one
/// shipment. Use content keys where equal content within a short time can only be a repetition, with
/// a `ttl` to match: Amazon SQS does so in its FIFO queues, for 5 minutes. An id that the sender
/// draws is always better.
///
/// ```
/// use idempotent_runtime::ContentKey;
///
/// #[derive(serde::Serialize)]
/// struct Reading { sensor: u32, celsius: f64 }
///
/// let one = ContentKey::of(&Reading { sensor: 7, celsius: 21.5 })?;
/// let same = ContentKey::of(&serde_json::json!({ "celsius": 21.5, "sensor": 7 }))?;
/// assert_eq!(one, same);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// The digest of `value`; frozen within a major version, like every key.
    ///
    /// # Errors
    ///
    /// When `value` has no form in JSON: its `Serialize` fails, or a map in it has names that are
    /// not strings, numbers or the like.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self(digest(&serde_json::to_value(value)?)))
    }
}

impl fmt::Debug for ContentKey {
    /// Shows 8 hex digits: who knows the content can tell it by its digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(")?;
        write_hex(f, &self.0[..4])?;
        f.write_str(")")
    }
}

fn digest(value: &Value) -> [u8; 32] {
    let mut encoder = KeyEncoder::new(b'C');
    encode(value, &mut encoder);
    encoder.digest(None, &[])
}

impl KeyPart for ContentKey {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.bytes(&self.0);
    }
}

fn encode(value: &Value, encoder: &mut KeyEncoder) {
    match value {
        Value::Null => encoder.absent(),
        Value::Bool(bool) => bool.encode(encoder),
        Value::String(text) => encoder.text(text),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => encoder.integer(false, number.into()),
            (_, Some(number), _) => encoder.integer(true, number.unsigned_abs().into()),
            (_, _, Some(number)) => encoder.float(number),
            // Only numbers of more digits than these have no such form.
            (None, None, None) => encoder.text(&number.to_string()),
        },
        Value::Array(items) => {
            encoder.list(items.len());
            for item in items {
                encode(item, encoder);
            }
        }
        Value::Object(members) => {
            // Another crate may have chosen that maps keep their order of insertion.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            encoder.map(members.len());
            for (name, value) in members {
                encoder.text(name);
                encode(value, encoder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;
    use crate::{key::StorageKey, key_part::ONE_SHOT};

    fn key(value: &impl Serialize) -> ContentKey {
        ContentKey::of(value).unwrap()
    }

    #[test]
    fn equal_content_has_one_key_whatever_the_order_of_its_members() {
        let names: Vec<_> = (0..50).map(|n| n.to_string()).collect();
        let forwards: HashMap<_, _> = names.iter().map(|name| (name, name)).collect();
        let backwards: HashMap<_, _> = names.iter().rev().map(|name| (name, name)).collect();
        assert_eq!(key(&forwards), key(&backwards));
        let (one, other) = (r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"d":3,"c":2},"a":1}"#);
        let parsed = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(key(&parsed(one)), key(&parsed(other)));
    }

    /// CASES 26: content that differs only in how it is split, or only in its type, never meets.
    #[test]
    fn different_content_has_different_keys() {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(-1),
            json!(1.0),
            json!("1"),
            json!(""),
            json!([]),
            json!({}),
            json!([null]),
            json!(["a", "b"]),
            json!(["ab"]),
            json!([["a"], "b"]),
            json!({"a": "b"}),
            json!({"a": null}),
            json!({"a": {"b": 1}}),
            json!({"a": {}, "b": 1}),
            json!("a".repeat(ONE_SHOT)),
            json!("a".repeat(ONE_SHOT + 1)),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.1),
        ];
        for (at, one) in values.iter().enumerate() {
            assert!(values.iter().skip(at + 1).all(|other| key(other) != key(one)), "{one}");
        }
    }

    #[test]
    fn what_has_no_form_in_json_has_no_key() {
        assert!(ContentKey::of(&HashMap::from([((1, 2), 3)])).is_err());
    }

    /// CASES 55: an upgrade must not change how keys are derived.
    #[test]
    fn golden_vectors_of_content_keys() {
        let value = json!({"id": 7, "at": -1.5, "tags": ["a", null, true], "of": {"z": -3}});
        let key = StorageKey::derive(None, None, "op", &key(&value));
        assert_eq!(key.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "d9a939455e0caf002b4b5136b492a0789825ee9731fbf8cda955232a386b72cd";
}
