//! How a [`MemoryStore`] is made.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize},
};

use super::{
    Inner, MemoryStore,
    budget::Ledger,
    clock::{Clock, Tokens},
    filling::Filling,
    records::Evicting,
    shard::Shard,
};
use crate::{hash::Seeded, settings::defaults, sync::shards};

/// What a [`MemoryStore`] does when its budget is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Refuses new keys with [`StoreError::Full`](crate::StoreError::Full). Nothing alive is lost.
    #[default]
    Refuse,
    /// Evicts the least recently used records, **whose requests are executed again when retried**.
    /// Each such loss is counted in [`MemoryUsage::evicted`](crate::MemoryUsage::evicted) and logged at error level.
    ///
    /// A quarter of the budget is set apart for leases and remembered keys, which are never evicted;
    /// when these alone fill it, new keys are refused all the same. A record larger than the other
    /// three quarters is not kept.
    Evict,
}

/// Configures a [`MemoryStore`].
///
/// | option | default |
/// |---|---|
/// | [`budget`](Self::budget) | 256 MiB |
/// | [`on_full`](Self::on_full) | [`OnFull::Refuse`] |
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryStoreBuilder {
    budget: usize,
    on_full: OnFull,
}

impl MemoryStoreBuilder {
    pub(super) fn new() -> Self {
        Self { budget: defaults::MEMORY_BUDGET, on_full: OnFull::default() }
    }

    /// Sets the budget in bytes.
    pub fn budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// Sets what happens when the budget is spent.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// Builds the store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let (clock, hasher) = (Clock::new(), Seeded::random());
        let budget = self.budget;
        let (limit, evicting) = match self.on_full {
            OnFull::Refuse => (budget, None),
            OnFull::Evict => {
                let keys = budget / 4;
                (keys, Some(Evicting::new(clock, hasher, budget - keys)))
            }
        };
        let ledger = Ledger::new(limit);
        let shard = |_| Mutex::new(Shard::new(hasher, Arc::clone(&ledger), evicting.as_ref()));
        MemoryStore(Arc::new(Inner {
            shards: (0..shards()).map(shard).collect(),
            hasher,
            evicting,
            ledger,
            budget,
            tokens: Tokens::new(),
            clock,
            next_shard: AtomicUsize::new(0),
            next_walk: AtomicU64::new(0),
            filling: Filling::new(limit),
        }))
    }
}
