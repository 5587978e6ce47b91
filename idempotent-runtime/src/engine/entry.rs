//! What one outcome asks of the store, and for how long it is asked.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Call, Effect, Engine, Verdict, execute::Executed};
use crate::{
    lease::Lease,
    observe,
    outage::{Cause, Ends},
    record::Record,
    store::{StoreCall, StoreError},
};

/// How long a client is held while a store that gives no answer is asked again.
pub(crate) const CONFIRM: Duration = Duration::from_secs(1);

/// What an outcome asks of the store.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    /// It is final.
    Complete(&'a Record),
    /// It is not.
    GiveBack(GiveBack),
}

/// How a lease is given back without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GiveBack {
    /// The operation may be repeated.
    Release,
    /// It had no effect: the key may be used for another request.
    Free,
    /// `halt`: it may have had its effect.
    Abandon,
}

impl<'a> Entry<'a> {
    pub(super) fn of<A>(call: &Call, lease: &Lease, executed: &'a Executed<A>) -> Self {
        match executed {
            Ok(Verdict::Final { record, .. }) => Self::Complete(record),
            _ => Self::GiveBack(GiveBack::of(call, lease, executed)),
        }
    }

    /// Tells the operator where somebody has to decide.
    pub(super) fn told<A>(self, call: &Call, executed: &Executed<A>) -> Self {
        if let Self::GiveBack(how) = self {
            how.told(call, executed);
        }
        self
    }
}

impl GiveBack {
    /// What an outcome asks that is not to be recorded.
    pub(super) fn of<A>(call: &Call, lease: &Lease, executed: &Executed<A>) -> Self {
        let effect = match executed {
            Ok(Verdict::Transient { effect, .. }) => *effect,
            _ => Effect::Possible,
        };
        match effect {
            // What a step has done would be done again by a life of the key that knows nothing of it.
            Effect::NotApplied | Effect::None if lease.steps.is_empty() && !call.has_steps() => {
                Self::Free
            }
            Effect::NotApplied | Effect::Possible if call.policy.halts() => Self::Abandon,
            // Under `rerun` a transient answer or a panic means "safe to repeat".
            _ => Self::Release,
        }
    }

    /// [`Entry::told`].
    pub(super) fn told<A>(self, call: &Call, executed: &Executed<A>) {
        if self == Self::Abandon {
            let why = match executed {
                Ok(_) => "its answer is not recorded",
                Err(_) => "its handler panicked",
            };
            observe::abandoned(&call.operation, &call.key, why);
        }
    }
}

impl Call {
    /// How long a client is held while the store gives no answer.
    /// `records` says whether a record is at stake.
    pub(super) fn patience(&self, records: bool) -> Duration {
        match records && self.policy.withholds() {
            true => self.policy.wait().max(CONFIRM),
            false => CONFIRM,
        }
    }
}

impl Engine {
    /// One call of the store.
    pub(super) async fn enter(
        &self,
        call: &Call,
        lease: &Lease,
        entry: Entry<'_>,
        until: Instant,
    ) -> Result<(), StoreError> {
        let entering = match entry {
            Entry::Complete(record) => {
                self.store.complete(lease, record.clone(), call.policy.ttl())
            }
            Entry::GiveBack(how) => self.give_back(call, lease, how),
        };
        let entered = self.bounded_until(until, entering).await;
        let cause = match call.is_recorded() {
            true => Cause::Uncommitted,
            false => Cause::Unrecorded,
        };
        match &entered {
            Ok(()) | Err(StoreError::LeaseLost) => self.outages.recovered(Ends::one(cause)),
            Err(error) => self.outages.failed(cause, &call.operation, &call.key, error),
        }
        entered
    }
}

impl Engine {
    fn give_back<'a>(&'a self, call: &Call, lease: &'a Lease, how: GiveBack) -> StoreCall<'a, ()> {
        match how {
            GiveBack::Release => self.store.release(lease, call.policy.ttl()),
            // For as long as a repetition of the `acquire` may be under way.
            GiveBack::Free => self.store.free(lease, call.policy.lease()),
            GiveBack::Abandon => self.store.abandon(lease),
        }
    }
}

/// Pauses between two tries of a call whose answer is unknown; `false` when time is up.
pub(crate) async fn pause(backoff: &mut Backoff, until: Instant) -> bool {
    let now = Instant::now();
    if now >= until {
        return false;
    }
    sleep(backoff.next().min(until - now)).await;
    true
}

/// Pauses between two looks at a key that another process holds: from 5 ms, doubling, to 40 ms, each
/// shortened by up to a half at random, so that many processes do not ask in step.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(Duration::from_millis(5))
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(Duration::from_millis(40));
        pause
    }
}
