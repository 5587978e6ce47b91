//! Completed records: kept in their shard, or under [`OnFull::Evict`](super::OnFull) in moka.
//!
//! moka is what evicts well. Where nothing may be evicted it has nothing to decide, and its
//! bookkeeping would cost more than the rest of a guarded request; see `ARCHITECTURE.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{Expiry, notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use super::{
    budget::{EVICTABLE_COST, record_cost},
    clock::{Clock, Moment},
    deadlines::Deadline,
    table::{Place, Table},
};
use crate::{hash::Seeded, key::StorageKey, record::Record};

/// By how much moka outlasts our deadline. Its clock is not ours: under paused tokio time it runs on,
/// and what is alive must not vanish.
const GRACE: Duration = Duration::from_mins(1);

/// A record and when it ends.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) record: Record,
    pub(super) expires_at: Moment,
}

/// The records of one shard. Reached under its lock only.
#[derive(Debug)]
pub(super) enum Records {
    /// Charged to the ledger; nothing alive ever goes.
    Kept(Table<Outcome>),
    /// Bounded by moka, which all shards share.
    Evictable(Arc<Evicting>),
}

impl Records {
    pub(super) fn new(hasher: Seeded, evicting: Option<&Arc<Evicting>>) -> Self {
        match evicting {
            None => Self::Kept(Table::new(hasher)),
            Some(evicting) => Self::Evictable(Arc::clone(evicting)),
        }
    }

    /// The outcome of a key, alive or not.
    pub(super) fn get(&self, place: Place<'_>) -> Option<Outcome> {
        match self {
            Self::Kept(records) => records.get(place).cloned(),
            Self::Evictable(evicting) => evicting.get(place.key),
        }
    }

    /// The outcome of a key that is alive by our clock.
    pub(super) fn alive(&self, place: Place<'_>, now: Moment) -> Option<Outcome> {
        self.get(place).filter(|outcome| !outcome.expires_at.has_come(now))
    }

    pub(super) fn insert(&mut self, place: Place<'_>, outcome: Outcome) {
        match self {
            Self::Kept(records) => records.insert(place, outcome),
            Self::Evictable(evicting) => evicting.cache.insert(*place.key, outcome),
        }
    }

    pub(super) fn remove(&mut self, place: Place<'_>) -> Option<Outcome> {
        match self {
            Self::Kept(records) => records.remove(place),
            Self::Evictable(evicting) => evicting.cache.remove(place.key),
        }
    }

    /// Removes the record that ends at `deadline`; one that ends later stays. moka removes by itself.
    pub(super) fn remove_ended(&mut self, deadline: Deadline) {
        if let Self::Kept(records) = self {
            records.remove_if(deadline.hash, |outcome| outcome.expires_at == deadline.at);
        }
    }

    /// How many stand here, expired ones too.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Kept(records) => records.len(),
            Self::Evictable(_) => 0,
        }
    }

    /// Whether moka bounds the records, rather than the ledger.
    pub(super) fn is_evicting(&self) -> bool {
        matches!(self, Self::Evictable(_))
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Kept(records) => records.capacity(),
            Self::Evictable(_) => 0,
        }
    }

    /// Gives memory back when most of it is not used any more.
    pub(super) fn shrink(&mut self) {
        if let Self::Kept(records) = self {
            records.shrink();
        }
    }
}

/// Records that moka may evict.
#[derive(Debug)]
pub(super) struct Evicting {
    cache: Cache<StorageKey, Outcome, Seeded>,
    evictions: Arc<Evictions>,
}

impl Evicting {
    /// Evicts the least recently used beyond `limit` bytes.
    pub(super) fn new(clock: Clock, hasher: Seeded, limit: usize) -> Arc<Self> {
        let evictions = Arc::<Evictions>::default();
        let counted = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(u64::try_from(limit).unwrap_or(u64::MAX))
            .weigher(|_, outcome: &Outcome| {
                u32::try_from(record_cost(&outcome.record, EVICTABLE_COST)).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetime(clock))
            // Runs inside moka's housekeeping, perhaps under the lock of a shard: takes none.
            .eviction_listener(move |key: Arc<StorageKey>, outcome: Outcome, cause| {
                if cause == RemovalCause::Size && !outcome.expires_at.has_come(clock.now()) {
                    counted.broken_guarantee(&key, limit);
                }
            })
            .build_with_hasher(hasher);
        Arc::new(Self { cache, evictions })
    }

    fn get(&self, key: &StorageKey) -> Option<Outcome> {
        // Most look-ups are of new keys, and a `get` that finds nothing is queued for housekeeping:
        // asking first costs a hit 100 ns and saves a miss 200.
        if self.cache.contains_key(key) { self.cache.get(key) } else { None }
    }

    /// How many were evicted while they were alive.
    pub(super) fn evicted(&self) -> u64 {
        self.evictions.count.load(Ordering::Relaxed)
    }

    /// Lets moka do what it put off.
    pub(super) fn run_pending_tasks(&self) {
        self.cache.run_pending_tasks();
    }

    /// Bytes and number of the records.
    pub(super) fn usage(&self) -> (usize, usize) {
        self.run_pending_tasks();
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        (count(self.cache.weighted_size()), count(self.cache.entry_count()))
    }
}

#[derive(Debug, Default)]
struct Evictions {
    count: AtomicU64,
}

impl Evictions {
    /// Logged at the 1st, 2nd, 4th, 8th … time: never silent, never a flood.
    fn broken_guarantee(&self, key: &StorageKey, limit: usize) {
        let evicted = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if evicted.is_power_of_two() {
            tracing::error!(
                key = %key.short(), evicted, record_bytes = limit,
                "the memory store evicted a record that is still alive (on_full = evict): \
                 a retry of its request will be executed again; raise the budget or use another store"
            );
        }
    }
}

/// moka's deadline: ours and the grace.
#[derive(Debug)]
struct Lifetime(Clock);

impl Lifetime {
    #[allow(clippy::unnecessary_wraps)] // what both methods return
    fn of(&self, outcome: &Outcome) -> Option<Duration> {
        Some(outcome.expires_at.remaining(self.0.now()).saturating_add(GRACE))
    }
}

impl Expiry<StorageKey, Outcome> for Lifetime {
    fn expire_after_create(
        &self,
        _: &StorageKey,
        outcome: &Outcome,
        _: std::time::Instant,
    ) -> Option<Duration> {
        self.of(outcome)
    }

    fn expire_after_update(
        &self,
        _: &StorageKey,
        outcome: &Outcome,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.of(outcome)
    }
}
