//! The contract between the engine and whatever remembers.
//!
//! A storage key is *absent*, *leased*, *remembered* (released, or abandoned when its lease ran out)
//! or *completed*. A key that was *freed* is absent, but for its token and the id of its last lease. The correctness of one execution rests on these steps being atomic in the store,
//! and on nothing else.

mod cached;
mod erased;
mod memory;

use std::{any::Any, error::Error as StdError, fmt, future::Future, time::Duration};

use bytes::Bytes;

pub use self::cached::{Cached, CachedBuilder};
pub(crate) use self::erased::{ErasedStore, StoreCall};
pub use self::memory::{MemoryStore, MemoryStoreBuilder, MemoryUsage, OnFull};
use crate::{
    fingerprint::Fingerprint,
    key::StorageKey,
    lease::{FencingToken, Lease, LeaseId},
    operation::OperationName,
    record::Record,
    settings::defaults,
};

/// Remembers which operations run and which have ended.
///
/// Implement it with plain `async fn`; [`Idempotency::new`](crate::Idempotency::new) takes any
/// implementation.
///
/// # What every store keeps
///
/// - [`acquire`](Self::acquire) is one atomic step. Of any number of concurrent calls for one key
///   exactly one is granted; a call that is not granted writes nothing.
/// - A lease belongs to its id **and** its token. `complete`, `renew`, `release`, `abandon` and
///   `save_step` compare both and otherwise answer [`StoreError::LeaseLost`], without an effect.
/// - A lease that ran out stays its owner's until somebody takes it over: a late `complete` of the
///   last owner is still the truth.
/// - Time is the store's own clock, never one that a caller sends.
/// - Results are byte-exact: an empty body, `0`, `false`, `""`, `[]`, `null` are results.
/// - An expired record is never returned, even before it is purged.
/// - A call that times out may still be applied later; callers treat it as *unknown*.
/// - A key has one *life* after the other. A life begins with attempt 1 and ends when its record expires,
///   when it is no longer remembered, when it is freed or forgotten. All leases of a life have the
///   [`first_token`](Lease::first_token) that its attempt 1 was granted with.
/// - Operation and ttl are kept as the last granted `acquire` said them, for the person who decides.
pub trait Store: Send + Sync + 'static {
    /// Asks for the lease of a key; see [`Acquired`] for the answers.
    ///
    /// A key that is leased by the same `lease_id` is granted again, with the same token and for the
    /// whole of `lease_for` from now. An id that was the last to be released is refused with [`StoreError::LeaseLost`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] when there is no room for another key, and what every call may answer.
    fn acquire(
        &self,
        request: AcquireRequest<'_>,
    ) -> impl Future<Output = Result<Acquired, StoreError>> + Send;

    /// Ends a lease with its outcome, which is replayable for `ttl` from now.
    ///
    /// Repeating it after a lost answer gives [`StoreError::LeaseLost`]; the caller then reads the
    /// key and finds its own record.
    ///
    /// # Errors
    ///
    /// [`StoreError::LeaseLost`] when the lease is not this one any more.
    fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Extends a lease to `lease_for` from now.
    ///
    /// # Errors
    ///
    /// [`StoreError::LeaseLost`] when the lease is not this one any more.
    fn renew(
        &self,
        lease: &Lease,
        lease_for: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a lease back without an outcome: the next `acquire` with the same fingerprint may have
    /// it. Token, attempt, fingerprint and steps are remembered for `retention`.
    ///
    /// Repeating it after a lost answer may give [`StoreError::LeaseLost`]; the caller then reads the
    /// key.
    ///
    /// # Errors
    ///
    /// [`StoreError::LeaseLost`] when the lease is not this one any more.
    fn release(
        &self,
        lease: &Lease,
        retention: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a lease back as if the key had never been asked for: the request had no effect, and the
    /// next `acquire`, **of whichever fingerprint**, begins a new life of the key, as attempt 1 and
    /// without steps. [`inspect`](Self::inspect) answers [`KeyState::Absent`].
    ///
    /// For `retention` the store remembers two things: the token, as the next one is greater, and the
    /// lease's id, which [`acquire`](Self::acquire) refuses with [`StoreError::LeaseLost`].
    ///
    /// Repeating it after a lost answer gives [`StoreError::LeaseLost`]; the caller then reads the key.
    ///
    /// # Errors
    ///
    /// [`StoreError::LeaseLost`] when the lease is not this one any more.
    fn free(
        &self,
        lease: &Lease,
        retention: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Lets a lease run out now: the outcome is unknown. The key is remembered for as long as its
    /// `acquire` asked. A `renew` that arrives later is refused with [`StoreError::LeaseLost`].
    ///
    /// # Errors
    ///
    /// [`StoreError::LeaseLost`] when the lease is not this one any more.
    fn abandon(&self, lease: &Lease) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Called before a step of a handler runs: extends the lease as [`renew`](Self::renew) does, and
    /// makes sure that the step's result can be saved. The effect of a step that could not be saved
    /// would be repeated by the next attempt.
    ///
    /// A store with a bound answers [`StoreError::Full`] here, and takes the result in
    /// [`save_step`](Self::save_step) even where it is full by then. Without a bound there is nothing to
    /// do but to renew.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] when there is no room; [`StoreError::LeaseLost`] when the lease is not this
    /// one any more.
    fn reserve_step(
        &self,
        lease: &Lease,
        lease_for: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.renew(lease, lease_for)
    }

    /// Keeps the result of one step of a handler. Repeating it with equal bytes is `Ok`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] when there is no room for it, which
    /// [`reserve_step`](Self::reserve_step) should have said before the step ran;
    /// [`StoreError::LeaseLost`] when the lease is not this one any more;
    /// [`StoreError::StepConflict`] when the name has another value.
    fn save_step(
        &self,
        lease: &Lease,
        name: &str,
        value: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What a key's state is. Changes and locks nothing.
    ///
    /// # Errors
    ///
    /// What every call may answer.
    fn inspect(
        &self,
        key: &StorageKey,
    ) -> impl Future<Output = Result<KeyState, StoreError>> + Send;

    /// Removes all that is known of a key, and answers whether there was something. A lease that has
    /// not run out is only removed with `force`.
    ///
    /// # Errors
    ///
    /// [`StoreError::StillLeased`] when a live lease was met without `force`.
    fn forget(
        &self,
        key: &StorageKey,
        force: bool,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes at most `limit` expired keys, and answers how many went; 0 in a store that expires by
    /// itself.
    ///
    /// # Errors
    ///
    /// What every call may answer.
    fn purge_expired(&self, limit: usize)
    -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// A completed, unexpired record that this process holds in memory, or `None`, which says
    /// nothing. An optimisation: it answers replays without a claim.
    fn recall(&self, key: &StorageKey) -> Option<Record> {
        let _ = key;
        None
    }

    /// What a crate downcasts to when a handler records in its own transaction: the store that knows
    /// the tables. `Some(self)` in a store that can, what the inner store says in a wrapper.
    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)> {
        None
    }

    /// The kind of store, for metrics and logs: `memory`, `redis`, `postgres`, …
    fn kind(&self) -> &'static str {
        "custom"
    }
}

/// What an [`acquire`](Store::acquire) asks for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AcquireRequest<'a> {
    /// The operation.
    pub key: &'a StorageKey,
    /// The request; compared before anything else.
    pub fingerprint: &'a Fingerprint,
    /// Drawn by the caller; the same in every repetition of one call.
    pub lease_id: LeaseId,
    /// How long the lease holds without a renewal.
    pub lease_for: Duration,
    /// How long the key is remembered after the lease ran out.
    pub retention: Retention,
    /// Whether an abandoned lease may be taken over.
    pub takeover: bool,
    /// The name of the operation, for people. Not compared: the key is made of it already.
    pub operation: &'a OperationName,
    /// For how long the operation's record would be replayable, for the person who decides what an
    /// abandoned operation came to.
    pub ttl: Duration,
}

static UNNAMED: OperationName = OperationName::from_static("");

impl<'a> AcquireRequest<'a> {
    /// A request that takes over abandoned leases and is remembered for a day, of an operation without
    /// a name whose record is replayable for a day.
    pub fn new(
        key: &'a StorageKey,
        fingerprint: &'a Fingerprint,
        lease_id: LeaseId,
        lease_for: Duration,
    ) -> Self {
        let ttl = defaults::TTL;
        Self {
            key,
            fingerprint,
            lease_id,
            lease_for,
            retention: Retention::For(ttl),
            takeover: true,
            operation: &UNNAMED,
            ttl,
        }
    }

    /// Sets the name of the operation and for how long its record is replayable.
    #[must_use]
    pub fn operation(mut self, operation: &'a OperationName, ttl: Duration) -> Self {
        (self.operation, self.ttl) = (operation, ttl);
        self
    }

    /// Sets how long the key is remembered after the lease ran out.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets whether an abandoned lease may be taken over.
    #[must_use]
    pub fn takeover(mut self, takeover: bool) -> Self {
        self.takeover = takeover;
        self
    }
}

/// How long a key is remembered after its lease ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// For this long.
    For(Duration),
    /// Until a person decides (`on_abandoned = halt`).
    UntilResolved,
}

/// The answer to an [`acquire`](Store::acquire).
///
/// The fingerprint is compared first: a key that is held by another request, in whichever state,
/// answers [`FingerprintMismatch`](Self::FingerprintMismatch).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Acquired {
    /// The caller holds the lease.
    Granted(Lease),
    /// Another lease holds the key.
    InFlight {
        /// When that lease runs out, unless it is renewed.
        lease_expires_in: Duration,
    },
    /// The operation has ended.
    Completed {
        /// Its outcome.
        record: Record,
        /// For how long it stays replayable.
        expires_in: Duration,
    },
    /// The key belongs to another request.
    FingerprintMismatch,
    /// The last lease ran out without an outcome, and `takeover` was off.
    Abandoned {
        /// Which execution it was.
        attempt: u32,
    },
}

/// The state of a key, for people, tools and waiters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing is known.
    Absent,
    /// A lease holds the key.
    Leased {
        /// Whose request it is.
        fingerprint: Fingerprint,
        /// Which execution it is.
        attempt: u32,
        /// Its fencing token.
        token: FencingToken,
        /// The name of the operation.
        operation: OperationName,
        /// For how long its record would be replayable.
        ttl: Duration,
        /// When the lease runs out, unless it is renewed.
        expires_in: Duration,
    },
    /// A lease was given back without an outcome.
    Released {
        /// Whose request it was.
        fingerprint: Fingerprint,
        /// Which execution it was.
        attempt: u32,
        /// Its fencing token.
        token: FencingToken,
        /// The name of the operation.
        operation: OperationName,
        /// For how long its record would be replayable.
        ttl: Duration,
    },
    /// A lease ran out without an outcome.
    Abandoned {
        /// Whose request it was.
        fingerprint: Fingerprint,
        /// Which execution it was.
        attempt: u32,
        /// Its fencing token.
        token: FencingToken,
        /// The name of the operation.
        operation: OperationName,
        /// For how long its record would be replayable.
        ttl: Duration,
    },
    /// The operation has ended.
    Completed {
        /// Its outcome.
        record: Record,
        /// For how long it stays replayable.
        expires_in: Duration,
    },
}

impl KeyState {
    /// The request that the key belongs to.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        match self {
            Self::Absent => None,
            Self::Leased { fingerprint, .. }
            | Self::Released { fingerprint, .. }
            | Self::Abandoned { fingerprint, .. } => Some(fingerprint),
            Self::Completed { record, .. } => Some(record.fingerprint()),
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The lease is not the caller's any more, or never was.
    LeaseLost,
    /// A live lease is in the way of `forget`.
    StillLeased,
    /// No room for another key.
    Full,
    /// No answer in time: it may or may not have been applied.
    Timeout,
    /// The step has been saved with another value.
    StepConflict {
        /// Its name.
        name: Box<str>,
    },
    /// What the store holds is not readable.
    Corrupt(BoxError),
    /// The store could not be asked, or its answer was lost.
    Unavailable(BoxError),
    /// This store has no such step.
    Unsupported(&'static str),
}

/// A boxed source of an error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

impl StoreError {
    /// The store holds something that is not readable.
    pub fn corrupt(source: impl Into<BoxError>) -> Self {
        Self::Corrupt(source.into())
    }

    /// The store could not be asked, or its answer was lost.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Whether the call may have been applied all the same, so that asking again makes sense.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseLost => f.write_str("the lease is held by another owner or by nobody"),
            Self::StillLeased => {
                f.write_str("the key has a live lease; wait for it, or force the removal")
            }
            Self::Full => f.write_str("the store has no room for another key"),
            Self::Timeout => f.write_str("the store did not answer in time"),
            Self::StepConflict { name } => {
                write!(f, "step `{name}` has been saved with another value")
            }
            Self::Corrupt(_) => f.write_str("what the store holds for this key is not readable"),
            Self::Unavailable(_) => f.write_str("the store could not be asked"),
            Self::Unsupported(step) => write!(f, "this store has no `{step}`"),
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Corrupt(source) | Self::Unavailable(source) => Some(&**source),
            _ => None,
        }
    }
}
