//! Completed records, in moka.
//!
//! Our own clock decides what is alive, and shards clear away what is not. In the default mode moka
//! has no capacity, so it can neither refuse nor evict; its expiry is a backstop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{Expiry, notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use super::{
    budget::record_cost,
    clock::{Clock, Moment},
    hash::Seeded,
};
use crate::{key::StorageKey, record::Record};

/// By how much moka outlasts our deadline. Its clock is not ours: under paused tokio time it runs on,
/// and what is alive must not vanish.
const GRACE: Duration = Duration::from_mins(1);

/// A record and when it ends.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) record: Record,
    pub(super) expires_at: Moment,
}

#[derive(Debug)]
pub(super) struct Records {
    cache: Cache<StorageKey, Outcome, Seeded>,
    evictions: Option<Arc<Evictions>>,
}

impl Records {
    pub(super) fn unbounded(clock: Clock, hasher: Seeded) -> Self {
        let cache = Cache::builder().expire_after(Lifetime(clock)).build_with_hasher(hasher);
        Self { cache, evictions: None }
    }

    /// Evicts the least recently used beyond `limit` bytes.
    pub(super) fn evicting(clock: Clock, hasher: Seeded, limit: usize) -> Self {
        let evictions = Arc::<Evictions>::default();
        let counted = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(u64::try_from(limit).unwrap_or(u64::MAX))
            .weigher(|_, outcome: &Outcome| {
                u32::try_from(record_cost(&outcome.record)).unwrap_or(u32::MAX)
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
        Self { cache, evictions: Some(evictions) }
    }

    /// The outcome of a key, alive or not.
    pub(super) fn get(&self, key: &StorageKey) -> Option<Outcome> {
        // Most look-ups are of new keys, and a `get` that finds nothing is queued for housekeeping:
        // asking first costs a hit 100 ns and saves a miss 200.
        if self.cache.contains_key(key) { self.cache.get(key) } else { None }
    }

    /// The outcome of a key that is alive by our clock.
    pub(super) fn alive(&self, key: &StorageKey, now: Moment) -> Option<Outcome> {
        self.get(key).filter(|outcome| !outcome.expires_at.has_come(now))
    }

    pub(super) fn insert(&self, key: StorageKey, outcome: Outcome) {
        self.cache.insert(key, outcome);
    }

    pub(super) fn remove(&self, key: &StorageKey) -> Option<Outcome> {
        self.cache.remove(key)
    }

    /// Whether moka bounds the records, rather than the ledger.
    pub(super) fn is_evicting(&self) -> bool {
        self.evictions.is_some()
    }

    /// How many were evicted while they were alive.
    pub(super) fn evicted(&self) -> u64 {
        self.evictions.as_ref().map_or(0, |evictions| evictions.count.load(Ordering::Relaxed))
    }

    /// Lets moka do what it put off.
    pub(super) fn run_pending_tasks(&self) {
        self.cache.run_pending_tasks();
    }

    /// Bytes and number of the records that moka bounds.
    pub(super) fn evictable(&self) -> (usize, usize) {
        if !self.is_evicting() {
            return (0, 0);
        }
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
