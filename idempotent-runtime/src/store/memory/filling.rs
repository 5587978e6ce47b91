//! What a store that fills says in time: a warning at half of its budget and at nine tenths.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{Inner, budget::Ledger, clock::Moment};
use crate::sync::lock;

/// The rungs, in tenths of the budget. At the odd ones a warning is given, whose rate is that since the rung
/// below was reached.
const RUNGS: [usize; 4] = [4, 5, 8, 9];

/// How far a store has filled.
#[derive(Debug)]
pub(super) struct Filling {
    /// Nothing is to be told while less than this is spent.
    up: AtomicUsize,
    /// A rung is left below this: a tenth of the budget under it, so that a store which goes up and down
    /// around a rung warns once.
    down: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many rungs are reached.
    reached: usize,
    /// When the last rung was reached, and what was spent then.
    since: (Moment, usize),
}

impl Filling {
    pub(super) fn new(limit: usize) -> Self {
        let state = Mutex::new(State { reached: 0, since: (Moment::ORIGIN, 0) });
        let filling = Self { up: AtomicUsize::new(0), down: AtomicUsize::new(0), state };
        filling.watch(0, limit);
        filling
    }

    /// Whether a rung was reached or left.
    pub(super) fn has_moved(&self, ledger: &Ledger) -> bool {
        let spent = ledger.spent();
        spent >= self.up.load(Ordering::Relaxed) || spent < self.down.load(Ordering::Relaxed)
    }

    /// Warns where a rung asks for it. No shard may be locked: keys are counted.
    #[cold]
    pub(super) fn tell(&self, store: &Inner, now: Moment) {
        let (limit, spent) = (store.ledger.limit(), store.ledger.spent());
        let mut state = lock(&self.state);
        let mut warning = None;
        while let Some(rung) = RUNGS.get(state.reached)
            && spent >= tenths(limit, *rung)
        {
            if state.reached % 2 == 1 {
                warning = Some(state.since);
            }
            state.reached += 1;
            state.since = (now, spent);
        }
        while let Some(below) = state.reached.checked_sub(1)
            && spent < tenths(limit, RUNGS[below] - 1)
        {
            state.reached = below;
        }
        self.watch(state.reached, limit);
        drop(state);
        if let Some((since, before)) = warning {
            warn(store, spent, spent.saturating_sub(before), since.until(now));
        }
    }

    fn watch(&self, reached: usize, limit: usize) {
        let up = RUNGS.get(reached).map_or(usize::MAX, |rung| tenths(limit, *rung));
        let down = reached.checked_sub(1).map_or(0, |below| tenths(limit, RUNGS[below] - 1));
        self.up.store(up, Ordering::Relaxed);
        self.down.store(down, Ordering::Relaxed);
    }
}

/// At least a byte, so that a budget of nothing is not reached by nothing.
fn tenths(limit: usize, tenths: usize) -> usize {
    (limit / 10 * tenths).max(1)
}

#[allow(clippy::cast_precision_loss)] // an estimate
fn warn(store: &Inner, spent: usize, grown: usize, within: Duration) {
    let limit = store.ledger.limit();
    let keys = store.all_shards().map(|shard| shard.keys()).sum::<usize>();
    let bytes_per_second = grown as f64 / within.max(Duration::from_millis(1)).as_secs_f64();
    let left = limit.saturating_sub(spent) as f64 / bytes_per_second.max(1.0);
    tracing::warn!(
        keys,
        bytes = spent,
        budget = limit,
        percent = spent.saturating_mul(100) / limit.max(1),
        bytes_per_second = bytes_per_second.round(),
        full_in_seconds = left.round(),
        "the memory store fills. At this rate it will be full then, and answer new keys with 503 store_full \
         until records expire: set a larger `MemoryStore::builder().budget(…)` or a shorter `ttl`, or take \
         a durable store"
    );
}
