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

/// How many expired keys an `acquire` clears away on its way: more than it adds.
const TIDY: usize = 2;
/// Below this many entries a sweep is not worth its while.
const SMALL: usize = 64;

#[derive(Debug)]
pub(super) struct Shard {
    /// Keys that are leased, or whose lease lapsed without a word.
    leases: Table<Held>,
    /// Keys that were given back: released, freed or abandoned by their owner. A key stands in one of the
    /// two. Boxed, as these may be many: the slack of the table is that of pointers.
    remembered: Table<Box<Held>>,
    records: Records,
    /// When `leases` has grown to this, its forgotten keys are swept out.
    sweep_at: usize,
    /// One for each record that the ledger is charged for, and the only place where that charge is
    /// given back. One for each remembered key that is forgotten by itself.
    deadlines: Deadlines,
    /// About how many deadlines are of keys that are not remembered any more.
    stale: usize,
    ledger: Arc<Ledger>,
}

impl Shard {
    pub(super) fn new(
        hasher: Seeded,
        ledger: Arc<Ledger>,
        evicting: Option<&Arc<Evicting>>,
    ) -> Self {
        Self {
            leases: Table::new(hasher),
            remembered: Table::new(hasher),
            records: Records::new(hasher, evicting),
            sweep_at: SMALL,
            deadlines: Deadlines::new(),
            stale: 0,
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
        let remembered = || self.remembered.get(place).map(|held| &**held);
        self.leases.get(place).or_else(remembered).filter(|held| !held.is_forgotten(now))
    }

    pub(super) fn owned(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
    ) -> Result<&mut Held, StoreError> {
        let held = match self.leases.get_mut(place) {
            Some(held) => Some(held),
            None => self.remembered.get_mut(place).map(|held| &mut **held),
        };
        held.filter(|held| held.is_owned_by(lease, now)).ok_or(StoreError::LeaseLost)
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
        if !self.leases.is_empty()
            && let Some(held) = self.leases.get_mut(place)
        {
            if !held.is_forgotten(now) {
                return Some(held.acquire(request, tokens, now));
            }
            self.leases.remove(place);
            return None;
        }
        if self.remembered.is_empty() {
            return None;
        }
        self.acquire_remembered(place, request, tokens, now)
    }

    #[cold]
    fn acquire_remembered(
        &mut self,
        place: Place<'_>,
        request: &AcquireRequest<'_>,
        tokens: &Tokens,
        now: Moment,
    ) -> Option<Result<Acquired, StoreError>> {
        let held = self.remembered.get_mut(place)?;
        if held.is_forgotten(now) {
            self.remembered.remove(place);
            self.one_is_stale();
            return None;
        }
        let answer = held.acquire(request, tokens, now);
        if let Ok(Acquired::Granted(_)) = answer {
            self.take_up(place);
        }
        Some(answer)
    }

    /// Holds a key of which nothing is known.
    pub(super) fn hold(&mut self, place: Place<'_>, held: Held) {
        self.leases.insert_new(place, held);
    }

    /// Ends a lease without an outcome.
    pub(super) fn give_back(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
        how: impl FnOnce(&mut Held),
    ) -> Result<(), StoreError> {
        how(self.owned(place, lease, now)?);
        let held = if let Some(held) = self.leases.remove(place) {
            Box::new(held)
        } else {
            // It was abandoned before.
            self.one_is_stale();
            self.remembered.remove(place).ok_or(StoreError::LeaseLost)?
        };
        let at = held.forgotten_at();
        let held = self.remembered.insert_new(place, held);
        held.put_aside();
        if at != Moment::NEVER {
            self.deadlines.push(Deadline { at, hash: place.hash, charged: 0 });
        }
        Ok(())
    }

    /// A key that was given back is leased again.
    fn take_up(&mut self, place: Place<'_>) {
        if let Some(mut held) = self.remembered.remove(place) {
            held.take_up();
            self.leases.insert_new(place, *held);
            self.one_is_stale();
        }
    }

    /// The deadline of a remembered key stays behind. Cleared away when they are most of all, at a
    /// constant cost in the average.
    fn one_is_stale(&mut self) {
        self.stale += 1;
        if self.stale > SMALL.max(self.deadlines.len() / 2) {
            let remembered = &self.remembered;
            self.deadlines.retain(|deadline| {
                deadline.is_of_record()
                    || remembered.has(deadline.hash, |held| held.forgotten_at() == deadline.at)
            });
            self.stale = 0;
        }
    }

    /// Moves a key from its lease to its outcome.
    pub(super) fn complete(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let Some(mut found) = self.leases.find(place) else {
            return self.complete_abandoned(place, lease, now, outcome);
        };
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

    /// The owner of an abandoned lease has an outcome after all, and nobody took over.
    #[cold]
    fn complete_abandoned(
        &mut self,
        place: Place<'_>,
        lease: &Lease,
        now: Moment,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        self.owned(place, lease, now)?;
        self.take_up(place);
        self.complete(place, lease, now, outcome)
    }

    /// Answers whether anything was known of the key.
    pub(super) fn forget(&mut self, place: Place<'_>, now: Moment) -> bool {
        let remembered = self.remembered.remove(place).map(|held| *held);
        if remembered.is_some() {
            self.one_is_stale();
        }
        let held = self.leases.remove(place).or(remembered);
        let was_held = held.is_some_and(|held| !held.is_absent(now));
        let Some(outcome) = self.records.remove(place) else { return was_held };
        // A walk through the shard, which is what a person's call may cost.
        let ledger = &self.ledger;
        self.deadlines.retain(|deadline| {
            let stays = deadline.hash != place.hash || !deadline.is_of_record();
            if !stays {
                ledger.give_back(deadline.charged);
            }
            stays
        });
        self.records.shrink();
        was_held || !outcome.expires_at.has_come(now)
    }

    /// Keeps the shard in proportion to what is alive in it, at a constant cost in the average.
    pub(super) fn tidy(&mut self, now: Moment) {
        if self.deadlines.have_come(now) || self.leases.len() >= self.sweep_at {
            self.tidy_up(now);
        }
    }

    #[cold]
    fn tidy_up(&mut self, now: Moment) {
        self.purge_due(now, TIDY);
        if self.leases.len() >= self.sweep_at {
            self.purge_lapsed(now, usize::MAX);
            self.sweep_at = SMALL.max(2 * self.leases.len());
        }
    }

    /// Removes at most `limit` keys whose lease lapsed without a word and whose retention is over: a walk
    /// through all leases.
    pub(super) fn purge_lapsed(&mut self, now: Moment, limit: usize) -> usize {
        let purged = self.leases.purge(limit, |held| held.is_forgotten(now));
        self.leases.shrink();
        purged
    }

    /// Removes at most `limit` expired records and forgotten keys, whose deadlines say so.
    pub(super) fn purge_due(&mut self, now: Moment, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && let Some(deadline) = self.deadlines.pop(now)
        {
            let Deadline { at, hash, charged } = deadline;
            if deadline.is_of_record() {
                // The key may have been completed again since.
                self.records.remove_ended(deadline);
                self.ledger.give_back(charged);
                removed += 1;
            } else if self.remembered.remove_if(hash, |held| held.forgotten_at() == at) {
                removed += 1;
            } else {
                self.stale = self.stale.saturating_sub(1);
            }
        }
        if removed > 0 {
            self.records.shrink();
            self.remembered.shrink();
            self.deadlines.shrink();
        }
        removed
    }

    /// For how many records there is room.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.records.room().max(self.deadlines.room())
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.leases.len() + self.remembered.len() + self.records.len()
    }

    /// How many keys are leased, remembered without a live lease, and completed.
    pub(super) fn count(&self, now: Moment) -> (usize, usize, usize) {
        let leased = self.leases.values().filter(|held| held.is_live(now)).count();
        let remembered = self.remembered.values().map(|held| &**held);
        let all = self.leases.values().chain(remembered);
        let known = all.filter(|held| !held.is_absent(now)).count();
        (leased, known - leased, self.records.len())
    }
}
