//! What a handler can ask about its own execution.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rand::{TryRng as _, rngs::SysRng};

use crate::{
    execution::Execution, key::StorageKey, key_part::KeyEncoder, lease::FencingToken,
    recording::Recording,
};

/// The execution that a handler is in: an extractor.
///
/// ```
/// # #[cfg(all(feature = "axum", feature = "macros"))] mod example {
/// use idempotent_runtime::{Attempt, idempotent};
///
/// #[idempotent(key = header("Idempotency-Key"))]
/// async fn charge(attempt: Attempt) -> String {
///     // Stable across attempts: the payment provider deduplicates by it.
///     let downstream = attempt.downstream_key("stripe");
///     format!("attempt {} with {downstream}", attempt.number())
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Attempt(AttemptSlot);

/// Where the engine writes what it was granted, after the extractors ran.
#[derive(Clone, Default)]
pub(crate) struct AttemptSlot(Arc<Slot>);

#[derive(Default)]
struct Slot {
    granted: OnceLock<Granted>,
    /// Stands for the key where there is none.
    keyless: OnceLock<StorageKey>,
}

/// What the engine knows when the handler begins.
pub(crate) struct Granted {
    key: StorageKey,
    execution: Option<Execution>,
}

impl Granted {
    pub(crate) fn new(execution: Execution) -> Self {
        Self { key: execution.lease().key, execution: Some(execution) }
    }

    /// For a handler that runs although the store could not be asked.
    pub(crate) fn unguarded(key: StorageKey) -> Self {
        Self { key, execution: None }
    }
}

impl AttemptSlot {
    pub(crate) fn grant(&self, granted: Granted) {
        // One slot belongs to one request, which is granted at most once.
        let _ = self.0.granted.set(granted);
    }

    fn execution(&self) -> Option<&Execution> {
        self.0.granted.get()?.execution.as_ref()
    }

    /// Whether the handler has begun a step that did not fail.
    pub(crate) fn has_steps(&self) -> bool {
        self.execution().is_some_and(Execution::has_steps)
    }

    /// Whether the handler has begun to record in its own transaction.
    pub(crate) fn is_recorded(&self) -> bool {
        self.execution().is_some_and(Execution::is_recorded)
    }
}

impl Attempt {
    pub(crate) fn new(slot: AttemptSlot) -> Self {
        Self(slot)
    }

    /// An attempt outside of any request, to call a handler directly in a test: number 1, unguarded.
    pub fn unguarded() -> Self {
        Self(AttemptSlot::default())
    }

    pub(crate) fn execution(&self) -> Option<&Execution> {
        self.0.execution()
    }

    /// What a store's crate needs to record in the handler's own transaction; `None` where nothing is
    /// guarded.
    pub fn recording(&self) -> Option<Recording<'_>> {
        self.execution().map(Recording::new)
    }

    /// Which execution of the operation this is: 1, 2, … Counts leases, so a lease that was granted
    /// and lost before its handler began counts too.
    pub fn number(&self) -> u32 {
        self.execution().map_or(1, |execution| execution.lease().attempt)
    }

    /// Whether an earlier attempt may have had some of its effects.
    pub fn is_recovery(&self) -> bool {
        self.number() > 1
    }

    /// Whether a lease protects this execution. It does not where a missing key is `optional`, where
    /// `on_store_error = bypass` let the handler run, or outside of `#[idempotent]`.
    pub fn is_guarded(&self) -> bool {
        self.execution().is_some()
    }

    /// The token to pass on to what the handler writes to; `None` where nothing is guarded.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.execution().map(|execution| execution.lease().token)
    }

    /// Resolves when the lease is lost: when the store says so, and at the latest when it would have
    /// run out by this machine's monotonic clock. From then on another process may run the
    /// operation. Never resolves where nothing is guarded.
    pub async fn lease_lost(&self) {
        match self.execution() {
            Some(execution) => execution.lost().await,
            None => std::future::pending().await,
        }
    }

    /// An idempotency key to send on to the API called `name`: 32 hex digits, the same in every
    /// attempt of this operation, different for every name. Random where the request has no key.
    ///
    /// A client's key that is used again after its record expired is a new operation, and has another
    /// downstream key. So has one that the store no longer knows: forgotten by an operator, or lost with
    /// a store that keeps nothing on disk. Where a restart must not change it, use a durable store.
    /// Under `on_store_error = bypass` it belongs to no life of the key, and differs from that of
    /// guarded attempts.
    pub fn downstream_key(&self, name: &str) -> String {
        let slot = &self.0.0;
        let key = match slot.granted.get() {
            Some(granted) => &granted.key,
            None => slot.keyless.get_or_init(|| StorageKey::from_bytes(unlike_any_twin())),
        };
        let mut encoder = KeyEncoder::new(b'D');
        encoder.bytes(key.as_bytes());
        match self.execution() {
            Some(execution) => {
                encoder.integer(false, execution.lease().first_token.as_u64().into());
            }
            None => encoder.absent(),
        }
        encoder.text(name);
        StorageKey::from_bytes(encoder.digest(None, &[])).to_string()[..32].to_owned()
    }
}

/// From the operating system: a process that was forked or restored from a snapshot draws on as its twin.
fn unlike_any_twin() -> [u8; 32] {
    let mut bytes = [0; 32];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => rand::random(),
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number())
            .field("is_guarded", &self.is_guarded())
            .field("fencing_token", &self.fencing_token())
            .finish_non_exhaustive()
    }
}
