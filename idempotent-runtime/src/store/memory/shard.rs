//! One part of the key space. Every transition of a key happens under its shard's lock.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, binary_heap::PeekMut},
    sync::Arc,
};

use super::{
    budget::{Ledger, RECORD_COST, record_cost},
    clock::{Moment, Tokens},
    held::Held,
    records::{Evicting, Outcome, Records},
};
use crate::{
    hash::Seeded,
    key::StorageKey,
    lease::Lease,
    store::{AcquireRequest, Acquired, StoreError},
};

/// How many expired records an `acquire` clears away on its way: more than it adds.
const TIDY: usize = 2;
/// Below this many entries a sweep is not worth its while.
const SMALL: usize = 64;

#[derive(Debug)]
pub(super) struct Shard {
    held: HashMap<StorageKey, Held, Seeded>,
    records: Records,
    /// When `held` has grown to this, its forgotten keys are swept out.
    sweep_at: usize,
    /// One for each record that the ledger is charged for, and the only place where that charge is
    /// given back.
    deadlines: BinaryHeap<Reverse<Deadline>>,
    ledger: Arc<Ledger>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Deadline {
    at: Moment,
    key: StorageKey,
    charged: usize,
}

impl Shard {
    pub(super) fn new(
        hasher: Seeded,
        ledger: Arc<Ledger>,
        evicting: Option<&Arc<Evicting>>,
    ) -> Self {
        Self {
            held: HashMap::with_hasher(hasher),
            records: Records::new(hasher, evicting),
            sweep_at: SMALL,
            deadlines: BinaryHeap::new(),
            ledger,
        }
    }

    /// The outcome of a key, alive or not.
    pub(super) fn outcome(&self, key: &StorageKey) -> Option<Outcome> {
        self.records.get(key)
    }

    /// The outcome of a key that is alive.
    pub(super) fn alive(&self, key: &StorageKey, now: Moment) -> Option<Outcome> {
        self.records.alive(key, now)
    }

    /// An outcome that has expired makes room for a lease.
    pub(super) fn remove_expired(&mut self, key: &StorageKey) {
        self.records.remove(key);
    }

    /// What is known of a key that has no outcome.
    pub(super) fn held(&self, key: &StorageKey, now: Moment) -> Option<&Held> {
        self.held.get(key).filter(|held| !held.is_forgotten(now))
    }

    pub(super) fn owned(&mut self, lease: &Lease, now: Moment) -> Result<&mut Held, StoreError> {
        self.held
            .get_mut(&lease.key)
            .filter(|held| held.is_owned_by(lease, now))
            .ok_or(StoreError::LeaseLost)
    }

    /// Asks a key without an outcome for its lease; `None` when nothing is known of it.
    pub(super) fn acquire(
        &mut self,
        request: &AcquireRequest<'_>,
        tokens: &Tokens,
        now: Moment,
    ) -> Option<Result<Acquired, StoreError>> {
        match self.held.get_mut(request.key) {
            Some(held) if !held.is_forgotten(now) => Some(held.acquire(request, tokens, now)),
            Some(_) => {
                self.held.remove(request.key);
                None
            }
            None => None,
        }
    }

    pub(super) fn hold(&mut self, key: StorageKey, held: Held) {
        self.held.insert(key, held);
    }

    /// Moves a key that is [owned](Self::owned) from its lease to its outcome.
    pub(super) fn complete(&mut self, key: StorageKey, outcome: Outcome) {
        let (at, cost) = (outcome.expires_at, record_cost(&outcome.record, RECORD_COST));
        // Before the lease goes, so that a panic in between leaves the key with both, not neither.
        self.records.insert(key, outcome);
        if let Some(held) = self.held.remove(&key)
            && !self.records.is_evicting()
        {
            held.charge.settle(cost);
            self.deadlines.push(Reverse(Deadline { at, key, charged: cost }));
        }
    }

    /// Answers whether anything was known of the key.
    pub(super) fn forget(&mut self, key: &StorageKey, now: Moment) -> bool {
        let held = self.held.remove(key).is_some_and(|held| !held.is_forgotten(now));
        let Some(outcome) = self.records.remove(key) else { return held };
        // A walk through the shard, which is what a person's call may cost.
        self.deadlines.retain(|Reverse(deadline)| {
            let found = deadline.key == *key;
            if found {
                self.ledger.give_back(deadline.charged);
            }
            !found
        });
        held || !outcome.expires_at.has_come(now)
    }

    /// Keeps the shard in proportion to what is alive in it, at a constant cost in the average.
    pub(super) fn tidy(&mut self, now: Moment) {
        self.purge_records(now, TIDY);
        self.records.shrink();
        if self.deadlines.capacity() > SMALL.max(4 * self.deadlines.len()) {
            self.deadlines.shrink_to(2 * self.deadlines.len());
        }
        if self.held.len() >= self.sweep_at {
            self.purge_held(now, usize::MAX);
            self.sweep_at = SMALL.max(2 * self.held.len());
            self.held.shrink_to(self.sweep_at);
        }
    }

    /// Removes at most `limit` keys whose retention is over.
    pub(super) fn purge_held(&mut self, now: Moment, limit: usize) -> usize {
        self.held.extract_if(|_, held| held.is_forgotten(now)).take(limit).count()
    }

    /// Removes at most `limit` expired records.
    pub(super) fn purge_records(&mut self, now: Moment, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && let Some(next) = self.deadlines.peek_mut()
            && next.0.at.has_come(now)
        {
            let Reverse(Deadline { key, charged, .. }) = PeekMut::pop(next);
            // The key may have been completed again since.
            if self.records.alive(&key, now).is_none() {
                self.records.remove(&key);
            }
            self.ledger.give_back(charged);
            removed += 1;
        }
        removed
    }

    /// How many keys are leased, remembered without a live lease, and completed.
    pub(super) fn count(&self, now: Moment) -> (usize, usize, usize) {
        let leased = self.held.values().filter(|held| held.is_live(now)).count();
        let known = self.held.values().filter(|held| !held.is_forgotten(now)).count();
        (leased, known - leased, self.deadlines.len())
    }
}
