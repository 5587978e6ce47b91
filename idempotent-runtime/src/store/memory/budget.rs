//! The byte budget: what is charged for what.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use crate::{lease::SavedSteps, record::Record, store::StoreError};

/// What a record costs beside its content in a shard: the record itself, its deadline, its entry and
/// the slack of the tables. Measured at a million records by `tests/tests/scale.rs`.
pub(super) const RECORD_COST: usize = 288;
/// The same in moka, under `OnFull::Evict`.
pub(super) const EVICTABLE_COST: usize = 640;
/// Reserved for a key while it is leased: a record with half a kilobyte of content, which is more than
/// the lease and its key take.
pub(super) const KEY_COST: usize = EVICTABLE_COST + 512;
/// What a key costs that was given back, beside a name of its own and its steps: its entry and the slack
/// of the table, what is known of it, and its deadline. Measured by `tests/tests/failures.rs`.
pub(super) const REMEMBERED_COST: usize = 352;
/// The first node of the map of steps, which has room for several.
const STEPS_COST: usize = 704;
/// A saved step beside its name and value, its share of further nodes among it.
const STEP_COST: usize = 176;
/// Reserved for a step before it runs. What it saves may be more, as a record may.
pub(super) const STEP_RESERVE: usize = 1024;
/// A head that no other record shares, beside its fields.
const HEAD_COST: usize = 96;
/// A header field of such a head beside its name and value.
const FIELD_COST: usize = 96;

/// The cost of a record whose place takes `overhead`.
pub(super) fn record_cost(record: &Record, overhead: usize) -> usize {
    let head = match record.metadata().own_fields() {
        0 => 0,
        fields => HEAD_COST + fields * FIELD_COST,
    };
    overhead + head + record.content_len()
}

/// The cost of one step more beside those that are saved.
pub(super) fn step_cost(saved: &SavedSteps, name: &str, value: &Bytes) -> usize {
    let first = if saved.is_empty() { STEPS_COST } else { 0 };
    first + STEP_COST + name.len() + value.len()
}

/// The cost of all steps of a key.
pub(super) fn steps_cost(saved: &SavedSteps) -> usize {
    let each = saved.iter().map(|(name, value)| STEP_COST + name.len() + value.len());
    each.sum::<usize>() + if saved.is_empty() { 0 } else { STEPS_COST }
}

/// Bytes spent of a limit.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: usize,
    spent: AtomicUsize,
}

impl Ledger {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, spent: AtomicUsize::new(0) })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn spent(&self) -> usize {
        self.spent.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> Result<(), StoreError> {
        let room = |spent: usize| spent.checked_add(bytes).filter(|spent| *spent <= self.limit);
        match self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Full),
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.spent.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a ledger, given back on drop.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: usize,
}

impl Charge {
    pub(super) fn reserve(ledger: &Arc<Ledger>, bytes: usize) -> Result<Self, StoreError> {
        ledger.reserve(bytes)?;
        Ok(Self { ledger: Arc::clone(ledger), bytes })
    }

    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.ledger.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Makes it `bytes`, past the limit if need be.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.ledger.spent.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.ledger.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Has `cost` in the place of what was `reserved`, past the limit if need be.
    pub(super) fn exchange(&mut self, reserved: usize, cost: usize) {
        self.set(self.bytes - reserved + cost);
    }

    /// Ends the charge and leaves `bytes` spent, past the limit if need be: an outcome is recorded
    /// whatever it costs. In one step, so that no `acquire` is refused for what was counted twice.
    pub(super) fn settle(&mut self, bytes: usize) {
        self.set(bytes);
        self.bytes = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.ledger.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back_with_what_it_grew_by() {
        let ledger = Ledger::new(100);
        let mut charge = Charge::reserve(&ledger, 60).unwrap();
        charge.grow(40).unwrap();
        assert!(matches!(charge.grow(1), Err(StoreError::Full)));
        drop(charge);
        assert_eq!(ledger.spent(), 0);
    }

    #[test]
    fn a_charge_that_is_set_is_that_much_even_past_the_limit() {
        let ledger = Ledger::new(100);
        let mut charge = Charge::reserve(&ledger, 60).unwrap();
        for cost in [0, 1, 150, 60] {
            charge.set(cost);
            assert_eq!(ledger.spent(), cost);
        }
        drop(charge);
        assert_eq!(ledger.spent(), 0);
    }

    #[test]
    fn a_settled_charge_leaves_exactly_its_cost_even_past_the_limit() {
        let ledger = Ledger::new(100);
        for cost in [0, 1, 60, 150] {
            Charge::reserve(&ledger, 60).unwrap().settle(cost);
            assert_eq!(ledger.spent(), cost);
            ledger.give_back(cost);
        }
    }

    #[test]
    fn a_reservation_up_to_the_limit_fits_and_one_byte_more_does_not() {
        let ledger = Ledger::new(100);
        assert!(Charge::reserve(&ledger, 101).is_err());
        assert!(Charge::reserve(&ledger, usize::MAX).is_err());
        let whole = Charge::reserve(&ledger, 100).unwrap();
        assert!(Charge::reserve(&ledger, 1).is_err());
        drop(whole);
        assert_eq!(ledger.spent(), 0);
    }
}
