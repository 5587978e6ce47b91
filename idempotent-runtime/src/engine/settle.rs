//! Row "outcome": records or releases what the handler answered, and tells everybody.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Answer, Backoff, Call, Ended, Engine, Verdict,
    execute::{Executed, Panic, Under},
    far,
    held::Running,
    truth::Truth,
};
use crate::{
    flight::{Landing, Leading},
    record::Record,
    refusal::Refusal,
    settings::{OnAbandoned, OnRecordFailure},
};

/// How long a client is held while a store that gives no answer is asked again.
const CONFIRM: Duration = Duration::from_secs(1);

/// How long a release that got no answer is tried in the background, at least.
const RELEASE: Duration = Duration::from_mins(1);

impl Engine {
    pub(super) async fn settle<A>(
        self: &Arc<Self>,
        call: &Call,
        executed: Executed<A>,
    ) -> Ended<A> {
        let Executed { under, result } = executed;
        let mut running = match under {
            Under::Lease(running) => running,
            Under::Nothing(leading) => return unguarded(leading, result),
        };
        running.held.end();
        match result {
            Ok(Verdict::Final { record, answer }) => {
                Ended::Answer(self.complete(call, running, record, answer).await)
            }
            Ok(Verdict::Transient { shared, answer, no_effect }) => {
                let landing = Landing::Transient(shared);
                let taken_over = self.give_back(call, running, no_effect, landing).await;
                Ended::Answer(taken_over.map_or(Answer::Own(answer), Answer::replay))
            }
            // Under `rerun` a panic means "safe to repeat".
            Err(panic) => {
                tracing::error!(key = %call.key.short(), operation = %call.operation,
                    "the handler panicked");
                self.give_back(call, running, false, Refusal::HandlerPanicked.into()).await;
                Ended::Panicked(panic)
            }
        }
    }

    async fn complete<A>(
        self: &Arc<Self>,
        call: &Call,
        running: Running,
        record: Record,
        answer: A,
    ) -> Answer<A> {
        let withhold = call.policy.on_record_failure == OnRecordFailure::Withhold;
        let patience = if withhold { call.policy.wait.max(CONFIRM) } else { CONFIRM };
        let until = far(Instant::now(), patience);
        match self.confirm(call, running.held.lease(), &record, until).await {
            Truth::Ours => {
                running.leading.land(Landing::Record(record));
                Answer::Own(answer)
            }
            Truth::Other(landing) => {
                running.leading.land(landing.clone());
                Answer::landed(landing).unwrap_or(Answer::Refused(Refusal::InProgress))
            }
            Truth::Unknown { lost } => {
                // An answer that may not be the only one, or that must not pass before its
                // tombstone, is not given.
                let withheld = withhold || lost || record.is_tombstone();
                if !withheld {
                    running.leading.publish(Landing::Record(record.clone()));
                }
                tracing::error!(key = %call.key.short(), operation = %call.operation, withheld,
                    "the outcome is not recorded yet; going on in the background");
                self.complete_later(call.clone(), running, record);
                if withheld { Refusal::StoreUnavailable.into() } else { Answer::Own(answer) }
            }
        }
    }

    /// Goes on completing under a renewed lease until the store says what is true, or the record
    /// would have expired.
    fn complete_later(self: &Arc<Self>, call: Call, running: Running, record: Record) {
        running.held.outlive_max_run();
        let engine = Arc::clone(self);
        self.tasks.spawn(async move {
            let Running { leading, held, permit: _permit } = running;
            let give_up = far(Instant::now(), call.policy.ttl);
            while Instant::now() < give_up {
                sleep(CONFIRM.mul_f64(rand::random_range(0.5..=1.0))).await;
                let until = far(Instant::now(), CONFIRM);
                match engine.confirm(&call, held.lease(), &record, until).await {
                    Truth::Ours => {
                        tracing::info!(key = %call.key.short(), "the outcome is recorded after all");
                        return leading.land(Landing::Record(record));
                    }
                    Truth::Other(landing) => {
                        tracing::error!(key = %call.key.short(), ?landing,
                            "the lease was lost before the outcome was recorded");
                        return leading.land(landing);
                    }
                    Truth::Unknown { .. } => {}
                }
            }
        });
    }

    /// Releases the lease, or under `halt` abandons it where an effect is possible. Answers the
    /// record of somebody who took the lease over and completed.
    async fn give_back(
        self: &Arc<Self>,
        call: &Call,
        running: Running,
        no_effect: bool,
        landing: Landing,
    ) -> Option<Record> {
        let abandon = call.policy.on_abandoned == OnAbandoned::Halt && !no_effect;
        let until = far(Instant::now(), CONFIRM);
        match self.returned(call, running.held.lease(), abandon, until).await {
            Truth::Other(Landing::Record(record)) => {
                running.leading.land(Landing::Record(record.clone()));
                Some(record)
            }
            Truth::Ours | Truth::Other(_) => {
                running.leading.land(landing);
                None
            }
            Truth::Unknown { .. } => {
                let Running { leading, held, permit } = running;
                leading.land(landing);
                let (engine, call, lease) = (Arc::clone(self), call.clone(), held.lease().clone());
                // Not renewed any more: what cannot be released lapses.
                drop(held);
                self.tasks.spawn(async move {
                    let _permit = permit;
                    let until = far(Instant::now(), call.policy.lease.max(RELEASE));
                    engine.returned(&call, &lease, abandon, until).await;
                });
                None
            }
        }
    }
}

/// Nobody recorded the answer of an unguarded run; those who joined it share it.
fn unguarded<A>(leading: Leading, result: Result<Verdict<A>, Panic>) -> Ended<A> {
    let (landing, ended) = match result {
        Ok(Verdict::Final { record, answer }) => {
            let shared = Some(record).filter(|record| !record.is_tombstone());
            (Landing::Transient(shared), Ended::Answer(Answer::Own(answer)))
        }
        Ok(Verdict::Transient { shared, answer, .. }) => {
            (Landing::Transient(shared), Ended::Answer(Answer::Own(answer)))
        }
        Err(panic) => (Refusal::HandlerPanicked.into(), Ended::Panicked(panic)),
    };
    leading.land(landing);
    ended
}

/// Pauses between two tries of a call whose answer is unknown; `false` when time is up.
pub(super) async fn pause(backoff: &mut Backoff, until: Instant) -> bool {
    let now = Instant::now();
    if now >= until {
        return false;
    }
    sleep(backoff.next().min(until - now)).await;
    true
}
