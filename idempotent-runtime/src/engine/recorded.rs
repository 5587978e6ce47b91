//! Row "outcome" after the handler recorded in its own transaction: only the store knows it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Answer, Backoff, Call, Ended, Engine, Verdict,
    claim::Seen,
    entry::{Entry, GiveBack, pause},
    execute::Executed,
    far,
    held::Running,
};
use crate::{flight::Landing, lease::Lease, record::Record, refusal::Refusal, store::StoreError};

/// What became of the handler's transaction.
enum Committed {
    /// The operation has this outcome.
    Record(Record),
    /// Nothing was committed, and nothing can be any more.
    Nothing,
    /// The lease was lost: this is what others did.
    Other(Landing),
    /// The store gives no answer.
    Unknown,
}

impl Engine {
    /// Answers what the store confirms, whatever the handler returned: a commit may fail, its answer
    /// may get lost, and a driver may report one that was none.
    pub(super) async fn settle_recorded<A>(
        self: &Arc<Self>,
        call: &Call,
        mut running: Box<Running>,
        executed: Executed<A>,
    ) -> Ended<A> {
        running.leading.ended();
        let Some(lease) = running.end().cloned() else { return Ended::of(executed) };
        if let Some(held) = &running.held {
            held.outlive_max_run();
        }
        let how = GiveBack::of(call, &lease, &executed);
        let until = far(Instant::now(), call.patience(true));
        let (landing, ended) = match self.committed(call, &lease, how, until).await {
            Committed::Record(record) => {
                (Landing::Record(record.clone()), Ended::committed(call, executed, record))
            }
            Committed::Nothing => {
                how.told(call, &executed);
                not_committed(call, executed)
            }
            Committed::Other(landing) => (landing.clone(), Ended::landed(landing)),
            Committed::Unknown => {
                tracing::debug!(operation = %call.operation, key = %call.key.short(),
                    "it is not known whether the handler's transaction was committed");
                let refusal = Refusal::StoreUnavailable;
                self.give_back_later(call.clone(), *running, how, refusal.into());
                return Ended::Answer(refusal.into());
            }
        };
        running.land(|| landing);
        ended
    }

    /// Finds out what was committed, up to `until`. Giving the lease back is the question that
    /// settles it: a store waits with its answer for a transaction that holds the record, and what
    /// commits later is refused by the lease.
    async fn committed(
        &self,
        call: &Call,
        lease: &Lease,
        how: GiveBack,
        until: Instant,
    ) -> Committed {
        let patience = far(Instant::now(), call.policy.wait());
        let mut backoff = Backoff::new();
        loop {
            let seen = match self.look(call).await {
                Seen::Free | Seen::Elsewhere(_) => {
                    match self.enter(call, lease, Entry::GiveBack(how), until).await {
                        Ok(()) => return Committed::Nothing,
                        Err(StoreError::LeaseLost) => self.look(call).await,
                        Err(error) => Seen::Silent(error),
                    }
                }
                seen => seen,
            };
            let (limit, late) = match seen {
                Seen::Landed(Landing::Record(record)) => return Committed::Record(record),
                Seen::Landed(landing) => return Committed::Other(landing),
                // The lease was another's, who gave it back: nothing of ours can be committed.
                Seen::Free => return Committed::Nothing,
                Seen::Elsewhere(_) => (patience, Committed::Other(Refusal::InProgress.into())),
                Seen::Silent(_) => (until, Committed::Unknown),
            };
            if !pause(&mut backoff, limit).await {
                return late;
            }
        }
    }
}

/// The handler's success was none; its failures are its own to tell.
fn not_committed<A>(call: &Call, executed: Executed<A>) -> (Landing, Ended<A>) {
    match executed {
        Ok(Verdict::Final { .. }) => {
            tracing::error!(operation = %call.operation, key = %call.key.short(),
                "a handler returned an answer whose transaction was not committed");
            (Refusal::NotCommitted.into(), Ended::Answer(Refusal::NotCommitted.into()))
        }
        executed => (Landing::of(&executed, true), Ended::of(executed)),
    }
}

impl<A> Ended<A> {
    /// The handler's own answer where it is what was committed, else what was committed.
    fn committed(call: &Call, executed: Executed<A>, record: Record) -> Self {
        if record.is_tombstone() {
            return Self::Answer(Refusal::NotReplayable.into());
        }
        match executed {
            Ok(Verdict::Final { record: own, answer }) if own == record => {
                Self::Answer(Answer::Own(answer))
            }
            Ok(_) => Self::Answer(Answer::Committed(record)),
            Err(_panic) => {
                tracing::warn!(operation = %call.operation, key = %call.key.short(),
                    "the transaction of the handler that panicked was committed: that is its outcome");
                Self::Answer(Answer::Committed(record))
            }
        }
    }
}
