//! Leases: the exclusive right to execute, for a bounded time.

use std::{cell::Cell, collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use bytes::Bytes;

use crate::key::{StorageKey, write_hex};

/// Id of one acquisition, drawn by the engine before it asks the store; no two are alike.
///
/// A store that has granted this id grants it again, so an `acquire` whose answer was lost can be
/// repeated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId([u8; 16]);

impl LeaseId {
    /// A new id, unlike any other: each thread draws a random number, counts up from it, and draws
    /// anew after 1,024 ids, so that a process which is forked or restored from a snapshot soon
    /// parts from its twin.
    pub fn random() -> Self {
        const COUNTED: u32 = 1024;
        thread_local! {
            static NEXT: Cell<(u128, u32)> = const { Cell::new((0, 0)) };
        }
        let drawn = NEXT.try_with(|next| {
            let (id, left) = match next.get() {
                (_, 0) => (rand::random(), COUNTED),
                counted => counted,
            };
            next.set((id.wrapping_add(1), left - 1));
            id
        });
        // At the end of its thread there is nothing to count on.
        Self(drawn.unwrap_or_else(|_| rand::random::<u128>()).to_le_bytes())
    }

    /// An id from the 16 bytes that a store kept.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

/// Number that strictly grows with each lease granted for a storage key.
///
/// Pass it to whatever you write to: a writer with a smaller token than the last one seen is a
/// process that was paused and has lost its lease. Stores draw it as `max(previous + 1, clock in
/// microseconds)`, so that it grows across forgotten keys, retention and failover too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FencingToken(u64);

impl FencingToken {
    /// A token from the number that a store kept.
    pub const fn from_u64(token: u64) -> Self {
        Self(token)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The durable results of the steps of a handler, by name.
pub type Steps = BTreeMap<String, Bytes>;

/// The steps that come with a lease. Cloning them is cheap, and those of most leases, which have
/// none, share nothing that threads would pass to and fro.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SavedSteps(Option<Arc<Steps>>);

impl SavedSteps {
    pub(crate) fn insert(&mut self, name: String, value: Bytes) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name, value);
    }
}

impl fmt::Debug for SavedSteps {
    /// Shows names and sizes: values are the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.iter().map(|(name, value)| (name, value.len()));
        f.debug_map().entries(sizes).finish()
    }
}

impl From<Steps> for SavedSteps {
    fn from(steps: Steps) -> Self {
        Self((!steps.is_empty()).then(|| Arc::new(steps)))
    }
}

impl Deref for SavedSteps {
    type Target = Steps;

    fn deref(&self) -> &Steps {
        static NONE: Steps = Steps::new();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

/// A lease that a store granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// What is leased.
    pub key: StorageKey,
    /// Which acquisition holds it.
    pub id: LeaseId,
    /// Compared together with the id in every later step.
    pub token: FencingToken,
    /// Which execution of the operation this is: 1, 2, …
    pub attempt: u32,
    /// The token of attempt 1: the same in all attempts of one life of the key. A key that is used
    /// again after its record expired has another.
    pub first_token: FencingToken,
    /// What earlier attempts saved.
    pub steps: SavedSteps,
}

impl Lease {
    /// A lease as a store grants it, the first of its key's life, without steps.
    pub fn new(key: StorageKey, id: LeaseId, token: FencingToken, attempt: u32) -> Self {
        Self { key, id, token, attempt, first_token: token, steps: SavedSteps::default() }
    }

    /// The same lease with the token that attempt 1 was granted with.
    #[must_use]
    pub fn with_first_token(mut self, token: FencingToken) -> Self {
        self.first_token = token;
        self
    }

    /// The same lease with the steps that earlier attempts saved.
    #[must_use]
    pub fn with_steps(mut self, steps: Steps) -> Self {
        self.steps = steps.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Acquired, Attempt, CachedBuilder, Idempotency, KeyEncoder, MemoryStore, Metadata, Record,
        ResolvedAnswer, fingerprint::Fingerprint,
    };

    /// CASES 62: nothing that a log or a panic formats shows what is the user's.
    #[test]
    fn debug_shows_no_secret_no_step_value_and_no_raw_key() {
        const MARK: &str = "s3cr3t";
        let mark = Bytes::from_static(MARK.as_bytes());
        let key = StorageKey::from_bytes([1; 32]);
        let steps = Steps::from([("charge".to_owned(), mark.clone())]);
        let token = FencingToken::from_u64(1);
        let lease = Lease::new(key, LeaseId::random(), token, 1).with_steps(steps);
        let mut encoder = KeyEncoder::new(b'K');
        encoder.text(MARK);
        let builder = Idempotency::builder(MemoryStore::new()).hash_secret([77; 32]);
        let record = Record::new(Fingerprint::of(&MARK), Metadata::Value, mark.clone());
        let field = (http::header::LOCATION, http::HeaderValue::from_static(MARK));
        let answer = ResolvedAnswer::new(http::StatusCode::OK)
            .header(field.0.clone(), field.1.clone())
            .body(mark.clone());
        let head = Metadata::Response {
            status: http::StatusCode::OK,
            headers: vec![field.clone()],
            trailers: vec![field],
        };
        let cached: CachedBuilder<MemoryStore> = crate::Cached::builder(MemoryStore::new());
        let shown = [
            format!("{lease:?}"),
            format!("{:?}", lease.steps),
            format!("{:?}", Acquired::Granted(lease)),
            format!("{encoder:?}"),
            format!("{builder:?}"),
            format!("{:?}", builder.build()),
            format!("{record:?}"),
            format!("{answer:?}"),
            format!("{head:?}"),
            format!("{cached:?}"),
            format!("{:?}", Attempt::unguarded()),
        ];
        // As text, as bytes of a list, as bytes of the secret.
        let marks = [MARK.to_owned(), format!("{:?}", MARK.as_bytes()), "77, 77".to_owned()];
        for text in &shown {
            assert!(marks.iter().all(|mark| !text.contains(mark.as_str())), "{text}");
        }
        assert!(shown[0].contains("charge"), "the name of a step is shown: {}", shown[0]);
    }
}
