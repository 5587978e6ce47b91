//! The store of one process.

mod budget;
mod builder;
mod clock;
mod deadlines;
mod filling;
mod held;
mod records;
mod shard;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

pub use self::builder::{MemoryStoreBuilder, OnFull};

use self::{
    budget::{Charge, KEY_COST, Ledger},
    clock::{Clock, Moment, Tokens},
    filling::Filling,
    held::Held,
    records::{Evicting, Outcome},
    shard::Shard,
    table::Place,
};
use super::{AcquireRequest, Acquired, KeyState, Store, StoreError};
use crate::{hash::Seeded, key::StorageKey, lease::Lease, record::Record, sync::lock};

/// How many expired keys one `acquire` clears away at a time when it meets a full store.
const RECLAIM: usize = 64;
/// How often a full store walks through its leases for those that lapsed without a word. Room that one of
/// them made may be found that much later.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// Keeps everything in the memory of this process, within a byte budget.
///
/// For one process whose keys may be forgotten when it ends; use a durable store where they may not.
/// Clones share what they hold. Needs no runtime and no background task.
///
/// # What happens when it is full
///
/// Leases, remembered keys and records share one budget, and **nothing that is alive is ever
/// evicted**: a payment whose record was pushed out by a flood of other keys would be executed again.
/// Instead [`acquire`](Store::acquire) answers [`StoreError::Full`] for new keys, and keys that the
/// store knows go on as before. Room comes back as records expire.
///
/// A new key reserves about 1 KiB until it has its outcome; one that is given back (a transient answer, a
/// panic) keeps about 400 bytes until its `ttl` is over. The log warns at half of the budget and at nine
/// tenths, and says when the store will be full. A lease can always record its outcome, so the budget may be
/// overshot by what runs at that moment: `max_running` × `max_response_bytes` at the most.
///
/// [`OnFull::Evict`] gives this guarantee up, explicitly.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use idempotent_runtime::{
///     AcquireRequest, Acquired, Fingerprint, LeaseId, MemoryStore, Metadata, Record, StorageKey,
///     Store,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), idempotent_runtime::StoreError> {
/// let store = MemoryStore::builder().budget(64 * 1024 * 1024).build();
/// let key = StorageKey::derive(None, None, "POST /payments", &"abc");
/// let request = Fingerprint::of(&"the request");
///
/// let ask = || AcquireRequest::new(&key, &request, LeaseId::random(), Duration::from_secs(30));
/// let Acquired::Granted(lease) = store.acquire(ask()).await? else { unreachable!() };
/// assert!(matches!(store.acquire(ask()).await?, Acquired::InFlight { .. }));
///
/// let record = Record::new(request, Metadata::Value, Bytes::from_static(b"42"));
/// store.complete(&lease, record.clone(), Duration::from_hours(24)).await?;
/// assert_eq!(store.recall(&key), Some(record));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: Seeded,
    /// Where [`OnFull::Evict`] keeps its records.
    evicting: Option<Arc<Evicting>>,
    /// Of leases and remembered keys; of records too, unless these may be evicted.
    ledger: Arc<Ledger>,
    budget: usize,
    tokens: Tokens,
    clock: Clock,
    /// Where a full store looks first for what has expired.
    next_shard: AtomicUsize,
    /// When a full store may walk through its leases again, in nanoseconds of its clock.
    next_walk: AtomicU64,
    filling: Filling,
}

/// What a [`MemoryStore`] holds at a moment, counted while it goes on working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUsage {
    /// Bytes charged to the budget, overhead included.
    pub bytes: usize,
    /// The budget in bytes.
    pub budget: usize,
    /// Keys with a live lease.
    pub leased: usize,
    /// Keys that were released or abandoned.
    pub remembered: usize,
    /// Keys with a record, and those whose record has expired but was not cleared away yet.
    pub completed: usize,
    /// Records that were evicted while they were alive, since the store was built: each a broken
    /// guarantee. 0 unless [`OnFull::Evict`] was chosen.
    pub evicted: u64,
}

impl MemoryStore {
    /// A store of 256 MiB that refuses new keys when it is full.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures a store.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::new()
    }

    /// Counts what the store holds. Walks through all leases and remembered keys: for metrics every
    /// few seconds, not for every request.
    pub fn usage(&self) -> MemoryUsage {
        let inner = &self.0;
        let now = inner.clock.now();
        let evicting = inner.evicting.as_ref();
        let (evictable_bytes, evictable) = evicting.map_or((0, 0), |evicting| evicting.usage());
        let mut usage = MemoryUsage {
            bytes: inner.ledger.spent() + evictable_bytes,
            budget: inner.budget,
            leased: 0,
            remembered: 0,
            completed: evictable,
            evicted: evicting.map_or(0, |evicting| evicting.evicted()),
        };
        for shard in inner.all_shards() {
            let (leased, remembered, completed) = shard.count(now);
            usage.leased += leased;
            usage.remembered += remembered;
            usage.completed += completed;
        }
        usage
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Where a key stands, and its shard.
    fn at<'a>(&self, key: &'a StorageKey) -> (Place<'a>, MutexGuard<'_, Shard>) {
        let place = Place::of(key, self.hasher);
        (place, lock(&self.shards[place.shard(self.shards.len())]))
    }

    fn all_shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    /// Does `step`; while there is no room for it, clears away what has expired and does it again.
    fn with_room<T>(
        &self,
        now: Moment,
        step: impl Fn(Moment) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match step(now) {
                Err(StoreError::Full) if self.reclaim(now) => {}
                answer => return answer,
            }
        }
    }

    /// Clears away some of what has expired, of any shard; `false` when there is nothing.
    #[cold]
    fn reclaim(&self, now: Moment) -> bool {
        let count = self.shards.len();
        let first = self.next_shard.fetch_add(1, Ordering::Relaxed);
        let of = |nth: usize| lock(&self.shards[first.wrapping_add(nth) % count]);
        if (0..count).any(|nth| of(nth).purge_due(now, RECLAIM) > 0) {
            return true;
        }
        let (due, next) =
            (self.next_walk.load(Ordering::Relaxed), now.after(WALK_EVERY).as_nanos());
        let walks = now.as_nanos() >= due
            && self
                .next_walk
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        walks
            && self.all_shards().map(|mut shard| shard.purge_lapsed(now, usize::MAX)).sum::<usize>()
                > 0
    }

    fn purge(&self, now: Moment, limit: usize) -> usize {
        let mut removed = 0;
        for mut shard in self.all_shards() {
            removed += shard.purge_lapsed(now, limit - removed);
            removed += shard.purge_due(now, limit - removed);
            if removed == limit {
                break;
            }
        }
        if let Some(evicting) = &self.evicting {
            evicting.run_pending_tasks();
        }
        removed
    }

    fn acquire(&self, request: &AcquireRequest<'_>, now: Moment) -> Result<Acquired, StoreError> {
        let (place, mut shard) = self.at(request.key);
        shard.tidy(now);
        if let Some(answer) = shard.acquire(place, request, &self.tokens, now) {
            return answer;
        }
        if let Some(outcome) = shard.outcome(place) {
            if !outcome.expires_at.has_come(now) {
                if outcome.record.fingerprint() != request.fingerprint {
                    return Ok(Acquired::FingerprintMismatch);
                }
                let expires_in = outcome.expires_at.remaining(now);
                return Ok(Acquired::Completed { record: outcome.record, expires_in });
            }
            shard.remove_expired(place);
        }
        let charge = Charge::reserve(&self.ledger, KEY_COST)?;
        let held = Held::new(request, self.tokens.next(now), charge, now);
        let lease = held.lease(request.key);
        shard.hold(place, held);
        Ok(Acquired::Granted(lease))
    }

    /// Ends a lease without an outcome.
    fn give_back(
        &self,
        lease: &Lease,
        now: Moment,
        how: impl FnOnce(&mut Held),
    ) -> Result<(), StoreError> {
        let (place, mut shard) = self.at(&lease.key);
        shard.give_back(place, lease, now, how)
    }

    /// Does `step` with what a lease holds.
    fn owned<T>(
        &self,
        lease: &Lease,
        now: Moment,
        step: impl FnOnce(&mut Held) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (place, mut shard) = self.at(&lease.key);
        step(shard.owned(place, lease, now)?)
    }
}

/// The steps that a store of this process takes at once: what its futures are made of.
impl MemoryStore {
    /// `since` is when the call was begun: a little earlier than now is as good.
    pub(crate) fn acquire_at_once(
        &self,
        request: &AcquireRequest<'_>,
        since: Instant,
    ) -> Result<Acquired, StoreError> {
        let now = self.0.clock.at(since);
        let acquired = self.0.with_room(now, |now| self.0.acquire(request, now));
        if let Ok(Acquired::Granted(_)) = acquired
            && self.0.filling.has_moved(&self.0.ledger)
        {
            self.0.filling.tell(&self.0, now);
        }
        acquired
    }

    pub(crate) fn complete_at_once(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let (place, mut shard) = self.0.at(&lease.key);
        shard.complete(place, lease, now, Outcome { record, expires_at: now.after(ttl) })
    }

    pub(crate) fn release_at_once(
        &self,
        lease: &Lease,
        retention: Duration,
    ) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        self.0.give_back(lease, now, |held| held.release(retention, now))
    }

    pub(crate) fn free_at_once(
        &self,
        lease: &Lease,
        retention: Duration,
    ) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        self.0.give_back(lease, now, |held| held.free(retention, now))
    }
}

impl Store for MemoryStore {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        self.acquire_at_once(&request, Instant::now())
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.complete_at_once(lease, record, ttl)
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        self.0.owned(lease, now, |held| held.renew(now.after(lease_for)))
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        self.free_at_once(lease, retention)
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        self.0.with_room(self.0.clock.now(), |now| {
            self.0.owned(lease, now, |held| {
                held.renew(now.after(lease_for))?;
                held.reserve_step()
            })
        })
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        self.release_at_once(lease, retention)
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        self.0.give_back(lease, now, |held| held.abandon(now))
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        self.0.with_room(self.0.clock.now(), |now| {
            self.0.owned(lease, now, |held| held.save_step(name, &value))
        })
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        let now = self.0.clock.now();
        let (place, shard) = self.0.at(key);
        if let Some(held) = shard.held(place, now) {
            return Ok(held.state(now));
        }
        Ok(shard.alive(place, now).map_or(KeyState::Absent, |outcome| {
            let expires_in = outcome.expires_at.remaining(now);
            KeyState::Completed { record: outcome.record, expires_in }
        }))
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        let now = self.0.clock.now();
        let (place, mut shard) = self.0.at(key);
        if !force && shard.held(place, now).is_some_and(|held| held.is_live(now)) {
            return Err(StoreError::StillLeased);
        }
        Ok(shard.forget(place, now))
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        Ok(self.0.purge(self.0.clock.now(), limit))
    }

    fn recall(&self, key: &StorageKey) -> Option<Record> {
        let (place, shard) = self.0.at(key);
        // Most keys that are asked for are new: the clock is read for those that are not.
        let outcome = shard.outcome(place)?;
        (!outcome.expires_at.has_come(self.0.clock.now())).then_some(outcome.record)
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}
