//! Key parts: what an idempotency key, a scope or a fingerprint can be made of.

use std::{borrow::Cow, fmt, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::key::StorageKey;

/// First byte of everything that is hashed. Raising it forgets every key in every store.
const DERIVATION_VERSION: u8 = 2;

/// Inputs up to this size are hashed in one call; beyond, the tail is streamed uncopied.
pub(crate) const ONE_SHOT: usize = 1024;

/// Room for what most keys are made of.
const TYPICAL: usize = 256;

/// What can stand in `key = …`, `scope = …` and `fingerprint = …`.
///
/// Implemented for integers, `bool`, `char`, strings, bytes, `Option`, tuples, slices, references
/// and smart pointers of these, and for `uuid::Uuid` with the feature `uuid`. Not for floats and
/// maps, which have no stable form. Integers of every width encode alike, `Some(x)` encodes as `x`,
/// so widening a type or making a scope mandatory forgets no key.
///
/// A newtype hands its content on:
///
/// ```
/// use idempotent_runtime::{KeyEncoder, KeyPart};
///
/// struct UserId(u64);
///
/// impl KeyPart for UserId {
///     fn encode(&self, encoder: &mut KeyEncoder) {
///         self.0.encode(encoder);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of an idempotency key",
    label = "no stable form to hash",
    note = "use integers, `bool`, strings, bytes, `Uuid` (feature `uuid`), `Option`, tuples or slices of these",
    note = "of a header write `key = header(\"…\")`, or take the `to_str()` of its `HeaderValue`",
    note = "for a type of your own: `impl KeyPart` and hand its content on"
)]
pub trait KeyPart {
    /// Writes a self-delimiting form of `self`.
    fn encode(&self, encoder: &mut KeyEncoder);

    /// Whether this is a missing value, like `None`.
    fn is_absent(&self) -> bool {
        false
    }

    /// Writes a slice of `Self`; only `u8` differs from the default.
    #[doc(hidden)]
    fn encode_slice(slice: &[Self], encoder: &mut KeyEncoder)
    where
        Self: Sized,
    {
        encoder.list(slice.len());
        for item in slice {
            item.encode(encoder);
        }
    }
}

/// Collects the parts of a key in a self-delimiting form: a tag byte for each, and a length before
/// everything that has one.
pub struct KeyEncoder {
    bytes: Vec<u8>,
    has_content: bool,
    has_absent: bool,
}

impl KeyEncoder {
    pub(crate) fn new(domain: u8) -> Self {
        let bytes = Vec::with_capacity(TYPICAL);
        let mut encoder = Self { bytes, has_content: false, has_absent: false };
        encoder.restart(domain);
        encoder
    }

    /// Begins a storage key: scope, operation and key follow.
    pub(crate) fn storage_key() -> Self {
        Self::new(b'K')
    }

    /// Begins a storage key that has no scope: operation and key follow.
    pub(crate) fn without_scope() -> Self {
        let mut encoder = Self::storage_key();
        encoder.absent();
        encoder
    }

    pub(crate) fn finish_storage_key(&mut self, secret: Option<&[u8; 32]>) -> StorageKey {
        StorageKey::from_bytes(self.digest(secret, &[]))
    }

    /// Makes [`has_content`](Self::has_content) speak of what follows only.
    pub(crate) fn expect_content(&mut self) {
        self.has_content = false;
        self.has_absent = false;
    }

    /// Whether a part is a missing value.
    pub(crate) fn has_absent(&self) -> bool {
        self.has_absent
    }

    /// Whether anything but absent values and empty strings was written.
    pub(crate) fn has_content(&self) -> bool {
        self.has_content
    }

    /// The text that is all that was written, where it is one.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn sole_text(&self) -> Option<&str> {
        let (tag, mut rest) = self.bytes.get(2..)?.split_first()?;
        let mut len = 0;
        for shift in (0..).step_by(7).take(usize::BITS as usize / 7) {
            let (byte, after) = rest.split_first()?;
            len |= usize::from(byte & 0x7f) << shift;
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (*tag == b's' && rest.len() == len).then(|| std::str::from_utf8(rest).ok())?
    }

    /// Writes a missing value.
    pub fn absent(&mut self) {
        self.has_absent = true;
        self.bytes.push(b'-');
    }

    /// Writes a string.
    pub fn text(&mut self, text: &str) {
        self.prefixed(b's', text.as_bytes());
    }

    /// Writes a string that is known by its bytes.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn text_bytes(&mut self, text: &[u8]) {
        self.prefixed(b's', text);
    }

    /// Writes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.prefixed(b'b', bytes);
    }

    /// Writes the head of a list or tuple whose `len` items follow.
    pub fn list(&mut self, len: usize) {
        self.head(b'l', len);
    }

    /// Writes the head of a map whose `len` names and values follow.
    pub(crate) fn map(&mut self, len: usize) {
        self.head(b'm', len);
    }

    pub(crate) fn float(&mut self, float: f64) {
        self.bytes.push(b'd');
        self.bytes.extend(float.to_bits().to_le_bytes());
    }

    pub(crate) fn integer(&mut self, negative: bool, magnitude: u128) {
        self.has_content = true;
        self.bytes.push(if negative { b'n' } else { b'p' });
        self.bytes.extend(magnitude.to_le_bytes());
    }

    fn prefixed(&mut self, tag: u8, content: &[u8]) {
        self.has_content |= !content.is_empty();
        self.head(tag, content.len());
        self.bytes.extend_from_slice(content);
    }

    /// A tag and the length of what follows.
    fn head(&mut self, tag: u8, len: usize) {
        match u8::try_from(len) {
            Ok(len) if len < 0x80 => self.bytes.extend_from_slice(&[tag, len]),
            _ => {
                self.bytes.push(tag);
                self.length(len);
            }
        }
    }

    /// A length of 7 bits a byte, the lowest first; the high bit says that more follow. Most are one
    /// byte, which keeps most keys within one block of the hash.
    #[allow(clippy::cast_possible_truncation)] // masked
    pub(crate) fn length(&mut self, mut len: usize) {
        while len >= 0x80 {
            self.bytes.push(0x80 | (len & 0x7f) as u8);
            len >>= 7;
        }
        self.bytes.push(len as u8);
    }

    /// Empties it for another digest.
    pub(crate) fn restart(&mut self, domain: u8) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[DERIVATION_VERSION, domain]);
    }

    #[cfg(test)]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Hashes what was written, followed by `tail`.
    pub(crate) fn digest(&mut self, secret: Option<&[u8; 32]>, tail: &[u8]) -> [u8; 32] {
        if self.bytes.len() + tail.len() <= ONE_SHOT {
            self.bytes.extend_from_slice(tail);
            return match secret {
                Some(secret) => blake3::keyed_hash(secret, &self.bytes).into(),
                None => blake3::hash(&self.bytes).into(),
            };
        }
        let mut hasher = secret.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        hasher.update(&self.bytes).update(tail);
        hasher.finalize().into()
    }
}

impl fmt::Debug for KeyEncoder {
    /// Shows nothing of a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncoder").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

macro_rules! integers {
    ($($unsigned:ty, $signed:ty);*) => {$(
        impl KeyPart for $unsigned {
            fn encode(&self, encoder: &mut KeyEncoder) {
                #[allow(clippy::cast_lossless)]
                encoder.integer(false, *self as u128);
            }
        }
        impl KeyPart for $signed {
            fn encode(&self, encoder: &mut KeyEncoder) {
                #[allow(clippy::cast_lossless)]
                encoder.integer(*self < 0, self.unsigned_abs() as u128);
            }
        }
    )*};
}
integers!(u16, i16; u32, i32; u64, i64; u128, i128; usize, isize);

impl KeyPart for u8 {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.integer(false, u128::from(*self));
    }

    fn encode_slice(slice: &[Self], encoder: &mut KeyEncoder) {
        encoder.bytes(slice);
    }
}

impl KeyPart for i8 {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.integer(*self < 0, u128::from(self.unsigned_abs()));
    }
}

impl KeyPart for bool {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.has_content = true;
        encoder.bytes.push(if *self { b't' } else { b'f' });
    }
}

impl KeyPart for char {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for str {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self);
    }
}

impl KeyPart for String {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self);
    }
}

impl KeyPart for Bytes {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.bytes(self);
    }
}

#[cfg(feature = "uuid")]
#[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
impl KeyPart for uuid::Uuid {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.bytes(self.as_bytes());
    }
}

impl<T: KeyPart> KeyPart for Option<T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        match self {
            Some(part) => part.encode(encoder),
            None => encoder.absent(),
        }
    }

    fn is_absent(&self) -> bool {
        self.as_ref().is_none_or(KeyPart::is_absent)
    }
}

impl<T: KeyPart> KeyPart for [T] {
    fn encode(&self, encoder: &mut KeyEncoder) {
        T::encode_slice(self, encoder);
    }
}

impl<T: KeyPart, const N: usize> KeyPart for [T; N] {
    fn encode(&self, encoder: &mut KeyEncoder) {
        T::encode_slice(self, encoder);
    }
}

impl<T: KeyPart> KeyPart for Vec<T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        T::encode_slice(self, encoder);
    }
}

macro_rules! pointers {
    ($($(#[$attr:meta])* $pointer:ty),*) => {$(
        $(#[$attr])*
        impl<T: KeyPart + ?Sized> KeyPart for $pointer {
            fn encode(&self, encoder: &mut KeyEncoder) {
                (**self).encode(encoder);
            }

            fn is_absent(&self) -> bool {
                (**self).is_absent()
            }
        }
    )*};
}
pointers!(&T, &mut T, Box<T>, Arc<T>, Rc<T>);

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        (**self).encode(encoder);
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

macro_rules! tuples {
    ($(($len:literal: $($name:ident),+)),+ $(,)?) => {$(
        impl<$($name: KeyPart),+> KeyPart for ($($name,)+) {
            #[allow(non_snake_case)]
            fn encode(&self, encoder: &mut KeyEncoder) {
                let ($($name,)+) = self;
                encoder.list($len);
                $($name.encode(encoder);)+
            }
        }
    )+};
}
tuples!(
    (1: A),
    (2: A, B),
    (3: A, B, C),
    (4: A, B, C, D),
    (5: A, B, C, D, E),
    (6: A, B, C, D, E, F),
    (7: A, B, C, D, E, F, G),
    (8: A, B, C, D, E, F, G, H),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_read_back_and_nothing_else() {
        let read = |part: &dyn KeyPart| {
            let mut encoder = KeyEncoder::storage_key();
            part.encode(&mut encoder);
            encoder.sole_text().map(str::to_owned)
        };
        for len in [0, 1, 127, 128, 255, 300, 20_000] {
            let text = "a".repeat(len);
            assert_eq!(read(&text), Some(text));
        }
        let others: [&dyn KeyPart; 5] =
            [&7, &("a",), &("a", "b"), &Bytes::from("a"), &None::<&str>];
        assert!(others.into_iter().all(|other| read(other).is_none()));
    }
}
