//! Row "outcome": records or releases what the handler answered, and tells everybody.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Answer, Call, Ended, Engine, Verdict,
    entry::{CONFIRM, Entry, GiveBack},
    execute::Executed,
    far,
    held::Running,
    truth::Truth,
};
use crate::{
    flight::Landing,
    record::Record,
    refusal::Refusal,
    store::{MemoryStore, StoreError},
};

/// How long a release that got no answer is tried in the background, at least.
const RELEASE: Duration = Duration::from_mins(1);

impl Engine {
    /// Makes an outcome true where the store answers at once and takes it: no future, no box.
    /// `false` whatever else is the case: then [`settle`](Self::settle) asks again.
    pub(super) fn settles_at_once<A>(
        &self,
        call: &Call,
        running: &mut Running,
        executed: &Executed<A>,
    ) -> bool {
        match &self.memory {
            Some(memory) if !call.is_recorded() => running.enter_at_once(memory, executed, call),
            _ => false,
        }
    }

    /// Makes an outcome true in the store, then tells everybody.
    pub(super) async fn settle<A>(
        self: &Arc<Self>,
        call: &Call,
        running: Running,
        executed: Executed<A>,
    ) -> Ended<A> {
        // Boxed, so that the parts of this hand on a pointer.
        let mut running = Box::new(running);
        if call.is_recorded() {
            return Box::pin(self.settle_recorded(call, running, executed)).await;
        }
        let completes = is_final(&executed);
        let until = far(Instant::now(), call.patience(completes));
        if completes {
            running.leading.ended();
        }
        if let Some(lease) = running.end()
            && let entry = Entry::of(call, lease, &executed).told(call, &executed)
            && let Err(error) = self.enter(call, lease, entry, until).await
        {
            return Box::pin(self.unsettled(call, running, executed, error, until)).await;
        }
        running.settled(executed)
    }

    /// The store refused an outcome, or gave no answer.
    async fn unsettled<A>(
        self: &Arc<Self>,
        call: &Call,
        mut running: Box<Running>,
        executed: Executed<A>,
        error: StoreError,
        until: Instant,
    ) -> Ended<A> {
        let Some(held) = &mut running.held else { return Ended::of(executed) };
        let entry = Entry::of(call, held.lease(), &executed);
        let how = GiveBack::of(call, held.lease(), &executed);
        let truth = match entry {
            Entry::Complete(record) => {
                held.outlive_max_run();
                self.confirm(call, held, record, error, false, until).await
            }
            Entry::GiveBack(how) => self.returned(call, held.lease(), how, error, until).await,
        };
        let landing = Landing::of(&executed, true);
        match (truth, executed) {
            (Truth::Other(theirs), Ok(Verdict::Final { .. }))
            | (Truth::Other(theirs @ Landing::Record(_)), Ok(Verdict::Transient { .. })) => {
                running.land(|| theirs.clone());
                Ended::landed(theirs)
            }
            (Truth::Ours | Truth::Other(_), executed) => {
                running.land(|| landing);
                Ended::of(executed)
            }
            (Truth::Unknown { lost }, Ok(Verdict::Final { record, answer })) => {
                Ended::Answer(self.unconfirmed(call, *running, record, answer, lost))
            }
            (Truth::Unknown { .. }, executed) => {
                self.give_back_later(call.clone(), *running, how, landing);
                Ended::of(executed)
            }
        }
    }

    /// Nobody knows whether the outcome is recorded.
    fn unconfirmed<A>(
        self: &Arc<Self>,
        call: &Call,
        running: Running,
        record: Record,
        answer: A,
        lost: bool,
    ) -> Answer<A> {
        // An answer that may not be the only one, or that must not pass before its tombstone, is
        // not given.
        let withhold = call.policy.withholds();
        let hold_back = withhold || lost || record.is_tombstone();
        if !hold_back {
            running.leading.publish(Landing::Record(record.clone()));
        }
        tracing::debug!(operation = %call.operation, key = %call.key.short(), withheld = hold_back,
            "the outcome is not recorded yet; going on in the background");
        self.complete_later(call.clone(), running, record);
        if hold_back { Refusal::StoreUnavailable.into() } else { Answer::Own(answer) }
    }

    /// Goes on completing under a renewed lease until the store says what is true, or the record
    /// would have expired.
    fn complete_later(self: &Arc<Self>, call: Call, running: Running, record: Record) {
        let Running { leading, held: Some(mut held), permit } = running else { return };
        held.outlive_max_run();
        let engine = Arc::clone(self);
        self.tasks.spawn(async move {
            let _permit = permit;
            let give_up = far(Instant::now(), call.policy.ttl());
            // No client is held any more: a slow store has all the time that it may take.
            let patience = CONFIRM.max(engine.settings.store_timeout);
            while Instant::now() < give_up {
                sleep(CONFIRM.mul_f64(rand::random_range(0.5..=1.0))).await;
                // One try at a time: the store has troubles enough.
                let (entry, until) = (Entry::Complete(&record), far(Instant::now(), patience));
                let truth = match engine.enter(&call, held.lease(), entry, until).await {
                    Ok(()) => Truth::Ours,
                    Err(error) => {
                        let now = Instant::now();
                        engine.confirm(&call, &mut held, &record, error, true, now).await
                    }
                };
                match truth {
                    Truth::Ours => {
                        tracing::info!(operation = %call.operation, key = %call.key.short(),
                            "the outcome is recorded after all");
                        return leading.land(|| Landing::Record(record));
                    }
                    Truth::Other(landing) => {
                        tracing::error!(operation = %call.operation, key = %call.key.short(), ?landing,
                            "the lease was lost before the outcome was recorded");
                        return leading.land(|| landing);
                    }
                    Truth::Unknown { .. } => {}
                }
            }
            tracing::error!(operation = %call.operation, key = %call.key.short(),
                "the outcome was never recorded: the store did not confirm it within the ttl");
        });
    }

    /// Goes on giving a lease back that is not renewed any more: what is not given back lapses.
    pub(super) fn give_back_later(
        self: &Arc<Self>,
        call: Call,
        running: Running,
        how: GiveBack,
        landing: Landing,
    ) {
        let Running { leading, held: Some(held), permit } = running else { return };
        leading.land(|| landing);
        let (engine, lease) = (Arc::clone(self), held.lease().clone());
        drop(held);
        self.tasks.spawn(async move {
            let _permit = permit;
            let until = far(Instant::now(), call.policy.lease().max(RELEASE));
            engine.returned(&call, &lease, how, StoreError::Timeout, until).await;
        });
    }
}

impl Running {
    /// The outcome is true: tells everybody.
    pub(super) fn settled<A>(self, executed: Executed<A>) -> Ended<A> {
        let is_guarded = self.held.is_some();
        self.land(|| Landing::of(&executed, is_guarded));
        Ended::of(executed)
    }

    /// Whether the store took what the handler's outcome asks of it.
    fn enter_at_once<A>(
        &mut self,
        memory: &MemoryStore,
        executed: &Executed<A>,
        call: &Call,
    ) -> bool {
        if is_final(executed) {
            self.leading.ended();
        }
        let Some(lease) = self.end() else { return false };
        match Entry::of(call, lease, executed) {
            Entry::Complete(record) => {
                memory.complete_at_once(lease, record.clone(), call.policy.ttl()).is_ok()
            }
            Entry::GiveBack(GiveBack::Release) => {
                memory.release_at_once(lease, call.policy.ttl()).is_ok()
            }
            Entry::GiveBack(GiveBack::Free) => {
                memory.free_at_once(lease, call.policy.lease()).is_ok()
            }
            Entry::GiveBack(GiveBack::Abandon) => false,
        }
    }
}

fn is_final<A>(executed: &Executed<A>) -> bool {
    matches!(executed, Ok(Verdict::Final { .. }))
}

impl Landing {
    /// What those who waited are told of a handler. Nobody records what it did unguarded.
    pub(super) fn of<A>(executed: &Executed<A>, is_guarded: bool) -> Self {
        match executed {
            Ok(Verdict::Final { record, .. }) if is_guarded => Self::Record(record.clone()),
            Ok(Verdict::Final { record, .. }) => {
                Self::Transient(Some(record.clone()).filter(|record| !record.is_tombstone()))
            }
            Ok(Verdict::Transient { shared, .. }) => shared.clone(),
            Err(_panic) => Refusal::HandlerPanicked.into(),
        }
    }
}

impl<A> Ended<A> {
    pub(super) fn of(executed: Executed<A>) -> Self {
        match executed {
            Ok(Verdict::Final { answer, .. } | Verdict::Transient { answer, .. }) => {
                Self::Answer(Answer::Own(answer))
            }
            Err(panic) => Self::Panicked(panic),
        }
    }
}
