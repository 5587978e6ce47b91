//! Leases: the exclusive right to execute, for a bounded time.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::key::{StorageKey, write_hex};

/// Id of one acquisition, drawn by the engine before it asks the store; no two are alike.
///
/// A store that has granted this id grants it again, so an `acquire` whose answer was lost can be
/// repeated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId([u8; 16]);

impl LeaseId {
    /// A new id, unlike any other: each thread draws a random number and counts up from it, beside the
    /// nanosecond in which the id is made. A process that is forked or restored from a snapshot counts
    /// on as its twin does, and parts from it by the clock.
    pub fn random() -> Self {
        thread_local! {
            static NEXT: Cell<Option<Drawn>> = const { Cell::new(None) };
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let id = NEXT.try_with(|next| {
            let drawn = next.get().unwrap_or_else(Drawn::new);
            next.set(Some(drawn.next()));
            drawn.id(nanos)
        });
        // At the end of its thread there is nothing to count on.
        id.unwrap_or_else(|_| Drawn::new().id(nanos))
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

/// What a thread makes its next id of.
#[derive(Clone, Copy)]
struct Drawn {
    random: u64,
    counted: u64,
}

impl Drawn {
    fn new() -> Self {
        Self { random: rand::random(), counted: rand::random() }
    }

    fn next(self) -> Self {
        Self { counted: self.counted.wrapping_add(1), ..self }
    }

    /// One half tells apart the ids of one thread, the other those of two threads and of twins.
    fn id(self, nanos: u64) -> LeaseId {
        let [mut id, counted] = [self.random ^ nanos, self.counted].map(u128::from);
        id |= counted << 64;
        LeaseId(id.to_le_bytes())
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
    use std::time::Duration;

    use crate::{
        AcquireRequest, Acquired, Attempt, CachedBuilder, ContentKey, Idempotency, KeyEncoder,
        KeyState, MemoryStore, Metadata, Record, Resolution, ResolvedAnswer,
        fingerprint::Fingerprint,
    };

    /// CASES 85: twins of a fork or a restored snapshot have drawn the same.
    #[test]
    fn ids_of_twins_part_by_the_clock_and_those_of_a_thread_whatever_the_clock_does() {
        let (mut drawn, mut ids) = (Drawn::new(), std::collections::HashSet::new());
        for nanos in [0, 1, 2, 1, 1, 0, u64::MAX].repeat(500) {
            assert!(ids.insert(drawn.id(nanos)));
            assert_ne!(drawn.id(nanos), drawn.id(nanos ^ 1));
            drawn = drawn.next();
        }
        let random: std::collections::HashSet<_> = (0..5000).map(|_| LeaseId::random()).collect();
        assert_eq!(random.len(), 5000);
    }

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
        let fingerprint = Fingerprint::of(&MARK);
        let request = AcquireRequest::new(&key, &fingerprint, lease.id, Duration::from_secs(1));
        let completed = KeyState::Completed { record: record.clone(), expires_in: Duration::MAX };
        let store = MemoryStore::new();
        let shown = [
            ("Lease", format!("{lease:?}")),
            ("SavedSteps", format!("{:?}", lease.steps)),
            ("Acquired", format!("{:?}", Acquired::Granted(lease))),
            ("AcquireRequest", format!("{request:?}")),
            ("KeyState", format!("{completed:?}")),
            ("KeyEncoder", format!("{encoder:?}")),
            ("IdempotencyBuilder", format!("{builder:?}")),
            ("Idempotency", format!("{:?}", builder.build())),
            ("Record", format!("{record:?}")),
            ("ResolvedAnswer", format!("{answer:?}")),
            ("Resolution", format!("{:?}", Resolution::Record(answer))),
            ("Metadata", format!("{head:?}")),
            ("CachedBuilder", format!("{cached:?}")),
            ("Cached", format!("{:?}", cached.build())),
            ("MemoryStore", format!("{store:?}")),
            ("Attempt", format!("{:?}", Attempt::unguarded())),
            ("ContentKey", format!("{:?}", ContentKey::of(MARK).unwrap())),
            ("Fingerprint", format!("{fingerprint:?}")),
        ];
        // As text, as bytes of a list, as bytes of the secret.
        let marks = [MARK.to_owned(), format!("{:?}", MARK.as_bytes()), "77, 77".to_owned()];
        for (name, text) in &shown {
            assert!(marks.iter().all(|mark| !text.contains(mark.as_str())), "{name}: {text}");
        }
        assert!(shown[0].1.contains("charge"), "the name of a step is shown: {}", shown[0].1);
        // What is public and not here holds nothing of the user's, or only what the user's own type shows.
        let known: Vec<_> = shown.iter().map(|(name, _)| *name).chain(HOLD_NOTHING).collect();
        for name in public_types() {
            assert!(known.contains(&name.as_str()), "is there a secret in `{name}`?");
        }
    }

    /// Public types that hold no secret: marks, numbers, digests, settings, errors, and what wraps a type
    /// of the user's.
    const HOLD_NOTHING: [&str; 39] = [
        "DoNotRecord",
        "Guard",
        "Guarded",
        "GuardedRejection",
        "NoEffect",
        "Outcome",
        "PassThrough",
        "Recorded",
        "Via",
        "BatchFailure",
        "BatchReport",
        "Error",
        "ValueAttempt",
        "ResolveError",
        "SettingsError",
        "ShortKey",
        "StorageKey",
        "KeyPart",
        "FencingToken",
        "LeaseId",
        "Steps",
        "OperationName",
        "Headers",
        "MetadataError",
        "RecordError",
        "Recording",
        "OnAbandoned",
        "OnRecordFailure",
        "OnStoreError",
        "RecordRule",
        "StepError",
        "StepRefusal",
        "BoxError",
        "MemoryStoreBuilder",
        "MemoryUsage",
        "OnFull",
        "Retention",
        "Store",
        "StoreError",
    ];

    /// The names of types that `lib.rs` gives away.
    fn public_types() -> Vec<String> {
        let lib = include_str!("lib.rs");
        let uses = lib.split("pub use self::").skip(1).map(|rest| rest.split(';').next().unwrap());
        let words = uses.flat_map(|list| list.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let types = words.filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()));
        types.map(str::to_owned).collect()
    }
}
