//! Storage keys: what a client's idempotency key becomes before a store sees it.
//!
//! The derivation is frozen within a major version: it starts with a version byte, and golden
//! vectors in the tests hold it still. An upgrade that changed it would run open retries again.

use std::fmt;

use crate::key_part::{KeyEncoder, KeyPart};

/// The 32-byte name under which a store keeps one logical operation.
///
/// A keyed or plain BLAKE3 hash of scope, operation and idempotency key, each length-prefixed, so
/// that keys which differ only in how their parts are split never meet. The client's own key cannot
/// be read back from it.
///
/// ```
/// use idempotent_runtime::StorageKey;
///
/// let one = StorageKey::derive(None, Some(&"user-1"), "POST /payments", &"abc");
/// let two = StorageKey::derive(None, Some(&"user-2"), "POST /payments", &"abc");
/// assert_ne!(one, two);
/// assert_eq!(one.to_string().len(), 64);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// Hashes `scope`, `operation` and `key`. A scope that is empty (`None`, `""`, a tuple of these) is no
    /// scope. With `secret` the hash is keyed, and nobody who reads
    /// the store can test guesses of a key without it.
    pub fn derive(
        secret: Option<&[u8; 32]>,
        scope: Option<&dyn KeyPart>,
        operation: &str,
        key: &dyn KeyPart,
    ) -> Self {
        let mut encoder = KeyEncoder::storage_key();
        if let Some(scope) = scope {
            scope.encode(&mut encoder);
        }
        // A scope of nothing is no scope.
        if !encoder.has_content() {
            encoder = KeyEncoder::without_scope();
        }
        encoder.text(operation);
        key.encode(&mut encoder);
        encoder.finish_storage_key(secret)
    }

    /// A key from the 32 bytes that a store kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hex digits, which is all that logs show of a key.
    pub fn short(&self) -> ShortKey {
        ShortKey([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageKey({})", self.short())
    }
}

/// The first 8 hex digits of a [`StorageKey`], for logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortKey([u8; 4]);

impl fmt::Display for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::key_part::ONE_SHOT;

    fn key(part: &dyn KeyPart) -> StorageKey {
        StorageKey::derive(None, None, "POST /payments", part)
    }

    /// CASES 26: keys that differ only in how their parts are split never meet.
    #[test]
    fn keys_that_differ_only_in_their_split_are_different() {
        assert_ne!(key(&("a", "bc")), key(&("ab", "c")));
        assert_ne!(key(&("a", ("b", "c"))), key(&(("a", "b"), "c")));
        assert_ne!(key(&vec!["a", "b"]), key(&"ab"));
        let split = |scope: &str, operation: &str, key: &str| {
            StorageKey::derive(None, Some(&scope), operation, &key)
        };
        assert_ne!(split("a", "b", "cd"), split("a", "bc", "d"));
        assert_ne!(split("ab", "c", "d"), split("a", "bc", "d"));
    }

    #[test]
    fn a_scope_that_is_none_is_no_scope_and_some_is_its_content() {
        let derive = |scope: Option<&dyn KeyPart>| StorageKey::derive(None, scope, "op", &"key");
        assert_eq!(derive(None), derive(Some(&None::<u64>)));
        assert_eq!(derive(Some(&7_u64)), derive(Some(&Some(7_i32))));
        for nothing in [&"" as &dyn KeyPart, &("", None::<u8>), &Vec::<u8>::new()] {
            assert_eq!(derive(None), derive(Some(nothing)));
        }
        assert_ne!(derive(None), derive(Some(&("", "a"))));
        assert_ne!(derive(None), derive(Some(&0_u8)));
    }

    #[test]
    fn strings_bytes_numbers_and_bools_never_collide() {
        let keys = [
            key(&"1"),
            key(&1_u8),
            key(&b"1"),
            key(&true),
            key(&-1_i8),
            key(&None::<u8>),
            key(&""),
            key(&("1",)),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(key(&i128::from(u64::MAX)), key(&u64::MAX));
        assert_eq!(key(&[1_u8, 2]), key(&Bytes::from_static(&[1, 2])));
    }

    #[test]
    fn one_shot_and_streamed_digests_agree() {
        for len in [0, 1, ONE_SHOT - 3, ONE_SHOT - 2, ONE_SHOT, 5 * ONE_SHOT] {
            let tail = vec![7_u8; len];
            let encoder = || {
                let mut encoder = KeyEncoder::new(b'F');
                encoder.text("head");
                encoder
            };
            let mut whole = encoder().into_bytes();
            whole.extend(&tail);
            assert_eq!(encoder().digest(None, &tail), *blake3::hash(&whole).as_bytes());
        }
    }

    /// CASES 55: an upgrade must not change how keys are derived.
    #[test]
    fn golden_vectors_of_storage_keys() {
        let secret = [7; 32];
        let vectors: [(StorageKey, &str); 4] = [
            (StorageKey::derive(None, None, "POST /payments", &"abc"), GOLDEN[0]),
            (StorageKey::derive(None, Some(&"user-1"), "POST /payments", &"abc"), GOLDEN[1]),
            (StorageKey::derive(Some(&secret), Some(&7_u32), "op", &("a", -1_i64)), GOLDEN[2]),
            (StorageKey::derive(None, Some(&(true, None::<u8>)), "op", &b"\0\xff"), GOLDEN[3]),
        ];
        for (key, golden) in vectors {
            assert_eq!(key.to_string(), golden);
        }
    }

    const GOLDEN: [&str; 4] = [
        "f426d8580f2a2b1fdc58a135fcaea126de7e3efc457895488bb75b818d0733b2",
        "144e41ad9ad16666cab1e562fdf85c4bdd4587500bd42bae1853b5493c8909f2",
        "57219fa31738f7820d2c44a40bb77840f89288b0cf17b79eb0c11d735cc60efa",
        "aef1e85187e71563c9a4343c623661665a917ffb7da6388587035b09fe213eb2",
    ];
}
