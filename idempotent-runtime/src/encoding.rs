//! What is recorded of a value: JSON that reads back as the value it was written of.

mod exact;

use serde::{Serialize, de::DeserializeOwned, ser::Error as _};

use self::exact::Exact;

/// The JSON that [`serde_json::to_vec`] writes; an error where that would read back as another value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    value.serialize(Exact::new(&mut serde_json::Serializer::new(&mut text)))?;
    Ok(text)
}

pub(crate) fn decode<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text)
}

/// Reads what has just been written: what no `T` can be read from is told to whoever has the value
/// still, and not to all who ask for it later.
pub(crate) fn check_readable<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<()> {
    decode::<T>(text)
        .map(drop)
        .map_err(|error| serde_json::Error::custom(format_args!("it cannot be read back: {error}")))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value)] // so that a table of values stays one
mod tests {
    use std::{
        collections::{BTreeMap, HashMap},
        fmt::Debug,
    };

    use serde::{Deserialize, Deserializer};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype<T>(T);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Pair<T>(u8, T);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Field<T> {
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        content: T,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flat<T> {
        outer: u64,
        #[serde(flatten)]
        content: Field<T>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Variant<T> {
        Unit,
        Newtype(T),
        Tuple(u8, T),
        Struct { content: T },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "is", content = "of")]
    enum Adjacent<T> {
        Content(T),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "is")]
    enum Internal<T> {
        Content { content: T },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged<T> {
        Content { content: T },
    }

    /// Calls `$check` with the value where it can stand in all kinds of others.
    macro_rules! everywhere {
        ($check:ident, $value:expr) => {{
            $check($value);
            $check(Newtype($value));
            $check(Pair(1, $value));
            $check((1, $value));
            $check(vec![$value]);
            $check(Some(vec![$value]));
            $check([$value]);
            $check(BTreeMap::from([("a".to_owned(), $value)]));
            $check(Field { id: 1, note: None, content: $value });
            $check(Some(Field { id: 1, note: Some("x".to_owned()), content: $value }));
            $check(Flat { outer: 2, content: Field { id: 1, note: None, content: $value } });
            $check(Variant::Newtype($value));
            $check(Variant::Tuple(1, $value));
            $check(Variant::Struct { content: $value });
            $check(Adjacent::Content($value));
            $check(Internal::Content { content: $value });
            $check(Untagged::Content { content: $value });
            $check(Box::new($value));
        }};
    }

    #[track_caller]
    fn same<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T) {
        let text = encode(&value).unwrap();
        assert_eq!(text, serde_json::to_vec(&value).unwrap());
        assert_eq!(decode::<T>(&text).unwrap(), value);
    }

    #[track_caller]
    fn refused<T: Serialize + Debug>(value: T) {
        let plain = serde_json::to_string(&value).unwrap();
        assert!(plain.contains("null"), "{plain} loses nothing");
        let error = encode(&value).unwrap_err().to_string();
        assert!(error.contains("`null` in JSON"), "{value:?}: {error}");
    }

    /// CASES 6: what reads back is written byte for byte as `serde_json` writes it.
    #[test]
    fn what_reads_back_is_written_as_serde_json_writes_it() {
        everywhere!(same, ());
        everywhere!(same, Unit);
        everywhere!(same, true);
        everywhere!(same, '\u{1f600}');
        everywhere!(same, "\0\u{1f600}\"\\".to_owned());
        everywhere!(same, None::<u8>);
        everywhere!(same, Some(1));
        everywhere!(same, Some(Some("x".to_owned())));
        everywhere!(same, Some(false));
        everywhere!(same, Some(String::new()));
        everywhere!(same, Some(Vec::<u8>::new()));
        everywhere!(same, Some(vec![None, Some(1)]));
        everywhere!(same, Some(((), None::<u8>)));
        everywhere!(same, Some(Variant::<u8>::Unit));
        everywhere!(same, Some(Variant::Newtype(())));
        everywhere!(same, Some(BTreeMap::from([("a".to_owned(), None::<u8>)])));
        everywhere!(same, Value::Null);
        everywhere!(same, json!({ "a": [1, -1, 1.5, null, {}], "b": "c" }));
        everywhere!(same, (i8::MIN, i16::MIN, i32::MIN, i64::MIN));
        everywhere!(same, (u8::MAX, u16::MAX, u32::MAX, u64::MAX));
        everywhere!(same, (f32::MIN_POSITIVE, f64::MAX, f64::EPSILON, 1.0_f64));
        same((i128::MIN, u128::MAX));
        same(HashMap::from([(1_u64, 2_u64)]));
        same(BTreeMap::from([(Some("a".to_owned()), 1)]));
        same(Ok::<u8, String>(1));
    }

    /// A number is the same to its last bit.
    #[test]
    fn numbers_read_back_to_the_last_bit() {
        fn bits(value: f64) {
            let read: f64 = decode(&encode(&value).unwrap()).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{value:e}");
            #[allow(clippy::cast_possible_truncation)] // another number to try
            let single = value as f32;
            if single.is_finite() {
                let read: f32 = decode(&encode(&single).unwrap()).unwrap();
                assert_eq!(read.to_bits(), single.to_bits(), "{single:e}");
            }
        }
        for value in [0.0, -0.0, 0.1, 1e23, f64::MAX, f64::MIN_POSITIVE, 5e-324] {
            bits(value);
        }
        let random = std::iter::repeat_with(|| f64::from_bits(rand::random()));
        random.filter(|value| value.is_finite()).take(10_000).for_each(bits);
    }

    /// CASES 69, 71: `Some` of what is `null` would be `None` later.
    #[test]
    fn some_of_nothing_is_refused_wherever_it_stands() {
        everywhere!(refused, Some(()));
        everywhere!(refused, Some(Unit));
        everywhere!(refused, Some(None::<u8>));
        everywhere!(refused, Some(Some(())));
        everywhere!(refused, Some(Value::Null));
        everywhere!(refused, Some(Newtype(())));
        everywhere!(refused, Some(Newtype(None::<u8>)));
        everywhere!(refused, Newtype(Some(())));
        everywhere!(refused, Some(Box::new(None::<u8>)));
        let error = encode(&Some(())).unwrap_err().to_string();
        assert!(error.contains("`Some(())`") && error.contains("use a `bool` or an enum"));
    }

    /// CASES 70: a number that is none in JSON.
    #[test]
    fn numbers_without_a_form_are_refused_wherever_they_stand() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            everywhere!(refused, number);
            everywhere!(refused, Some(number));
        }
        everywhere!(refused, f32::NAN);
        assert!(encode(&f64::NAN).unwrap_err().to_string().starts_with("`NaN`"));
    }

    /// What `serde_json` refuses is refused.
    #[test]
    fn keys_that_are_no_strings_are_refused() {
        encode(&BTreeMap::from([(vec![1], 1)])).unwrap_err();
        encode(&BTreeMap::from([(None::<u8>, 1)])).unwrap_err();
    }

    /// CASES 70: what cannot be read at all is told when it is written.
    #[test]
    fn what_cannot_be_read_back_is_told() {
        #[derive(Serialize)]
        struct OneWay(u64);
        impl<'de> Deserialize<'de> for OneWay {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(serde::de::Error::custom("no way back"))
            }
        }
        let text = encode(&OneWay(1)).unwrap();
        let error = check_readable::<OneWay>(&text).unwrap_err().to_string();
        assert!(error.contains("it cannot be read back: no way back"), "{error}");
        check_readable::<u64>(&text).unwrap();
        let deep = (0..200).fold(json!(1), |deep, _| json!([deep]));
        check_readable::<Value>(&encode(&deep).unwrap()).unwrap_err();
    }
}
