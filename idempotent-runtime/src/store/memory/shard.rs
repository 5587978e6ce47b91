//! One part of the key space. Every transition of a key happens under its shard's lock.

use std::sync::Arc;

use super::{
    budget::{Ledger, RECORD_COST, record_cost},
    clock::{Moment, Tokens},
    deadlines::{Deadline, Deadlines},
    held::Held,
    records::{Evicting, Outcome, Records},
    table::{Place, Table},
};
use crate::{
    hash::Seeded,
    lease::Lease,
    store::{AcquireRequest, Acquired, StoreError},
};

/// How many expired records an `acquire` clears away on its way: more than it adds.
const TIDY: usize = 2;
/// Below this many entries a sweep is not worth its while.
const SMALL: usize = 64;

#[derive(Debug)]
pub(super) struct Shard {
    held: Table<Held>,
    records: Records,
    /// When `held` has grown to this, its forgotten keys are swept out.
    sweep_at: usize,
    /// One for each record that the ledger is charged for, and the only place where that charge is
    /// given back.
    deadlines: Deadlines,
    ledger: Arc<Ledger>,
}

impl Shard {
    pub(super) fn new(
        hasher: Seeded,
        ledger: Arc<Ledger>,
        evicting: Option<&Arc<Evicting>>,
    ) -> Self {
        Self {
            held: Table::new(hasher),
            records: Records::new(hasher, evicting),
            sweep_at: SMALL,
            deadlines: Deadlines::new(),
            ledger,
        }
    }

    /// The outcome of a key, alive or not.
    pub(super) fn outcome(&self, place: Place<'_>) -> Option<Outcome> {
        self.records.get(place)
    }

    /// The outcome of a key that is alive.
    pub(super) fn alive(&self, place: Place<'_>, now: Moment) -> Option<Outcome> {
        self.records.alive(place, now)
    }

    /// An outcome that has expired makes room for a lease.
    pub(super) fn remove_expired(&mut self, place: Place<'_>) {
        self.records.remove(place);
    }

    /// What is known of a key that has no outcome.
    pub(super) fn held(&self, place: Place<'_>, now: Moment) -> Option<&Held> {
        self.held.get(place).filter(|held| !held.is_forgotten(now))
    }

    pub(super) fn owned(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
    ) -> Result<&mut Held, StoreError> {
        self.held
            .get_mut(place)
            .filter(|held| held.is_owned_by(lease, now))
            .ok_or(StoreError::LeaseLost)
    }

    /// Asks a key without an outcome for its lease; `None` when nothing is known of it.
    pub(super) fn acquire(
        &mut self,
        place: Place<'_>,
        request: &AcquireRequest<'_>,
        tokens: &Tokens,
        now: Moment,
    ) -> Option<Result<Acquired, StoreError>> {
        // Most are, while no other request of the shard is running.
        if self.held.is_empty() {
            return None;
        }
        match self.held.get_mut(place) {
            Some(held) if !held.is_forgotten(now) => Some(held.acquire(request, tokens, now)),
            Some(_) => {
                self.held.remove(place);
                None
            }
            None => None,
        }
    }

    /// Holds a key of which nothing is known.
    pub(super) fn hold(&mut self, place: Place<'_>, held: Held) {
        self.held.insert_new(place, held);
    }

    /// Moves a key from its lease to its outcome.
    pub(super) fn complete(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let Some(mut found) = self.held.find(place) else { return Err(StoreError::LeaseLost) };
        if !found.get_mut().is_owned_by(lease, now) {
            return Err(StoreError::LeaseLost);
        }
        let (at, charged) = (outcome.expires_at, record_cost(&outcome.record, RECORD_COST));
        // Before the lease goes, so that a panic in between leaves the key with both, not neither.
        self.records.insert(place, outcome);
        if !self.records.is_evicting() {
            found.get_mut().charge.settle(charged);
            self.deadlines.push(Deadline { at, hash: place.hash, charged });
        }
        drop(found.remove());
        Ok(())
    }

    /// Answers whether anything was known of the key.
    pub(super) fn forget(&mut self, place: Place<'_>, now: Moment) -> bool {
        let held = self.held.remove(place).is_some_and(|held| !held.is_absent(now));
        let Some(outcome) = self.records.remove(place) else { return held };
        // A walk through the shard, which is what a person's call may cost.
        self.deadlines.take(place.hash, |deadline| self.ledger.give_back(deadline.charged));
        self.records.shrink();
        self.deadlines.shrink();
        held || !outcome.expires_at.has_come(now)
    }

    /// Keeps the shard in proportion to what is alive in it, at a constant cost in the average.
    pub(super) fn tidy(&mut self, now: Moment) {
        if self.deadlines.have_come(now) || self.held.len() >= self.sweep_at {
            self.tidy_up(now);
        }
    }

    #[cold]
    fn tidy_up(&mut self, now: Moment) {
        self.purge_records(now, TIDY);
        if self.held.len() >= self.sweep_at {
            self.purge_held(now, usize::MAX);
            self.sweep_at = SMALL.max(2 * self.held.len());
            self.held.shrink_to(self.sweep_at);
        }
    }

    /// Removes at most `limit` keys whose retention is over.
    pub(super) fn purge_held(&mut self, now: Moment, limit: usize) -> usize {
        self.held.purge(limit, |held| held.is_forgotten(now))
    }

    /// Removes at most `limit` expired records.
    pub(super) fn purge_records(&mut self, now: Moment, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && let Some(deadline) = self.deadlines.pop(now)
        {
            // The key may have been completed again since.
            self.records.remove_ended(deadline);
            self.ledger.give_back(deadline.charged);
            removed += 1;
        }
        if removed > 0 {
            self.records.shrink();
            self.deadlines.shrink();
        }
        removed
    }

    /// For how many records there is room.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.records.room().max(self.deadlines.room())
    }

    /// How many keys are leased, remembered without a live lease, and completed.
    pub(super) fn count(&self, now: Moment) -> (usize, usize, usize) {
        let leased = self.held.values().filter(|held| held.is_live(now)).count();
        let known = self.held.values().filter(|held| !held.is_absent(now)).count();
        (leased, known - leased, self.records.len())
    }
}
