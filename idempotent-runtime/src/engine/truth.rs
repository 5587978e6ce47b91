//! After the handler ran, the store decides what is true.

use tokio::time::Instant;

use super::{
    Backoff, Call, Engine,
    claim::Seen,
    entry::{CONFIRM, Entry, GiveBack, pause},
    far,
    held::Held,
};
use crate::{flight::Landing, lease::Lease, record::Record, refusal::Refusal, store::StoreError};

/// What is true of an outcome that this process has.
pub(super) enum Truth {
    /// It is the one outcome.
    Ours,
    /// Somebody took the lease over: this is what they did.
    Other(Landing),
    /// The store gives no answer. `lost`: the lease is not ours, so another outcome may exist.
    Unknown { lost: bool },
}

impl Engine {
    /// Completes until the store confirms or denies, up to `until`, after a `complete` ended with
    /// `error`; `unanswered` says whether one before it got no answer. `held` is another lease
    /// afterwards where the first was lost and nobody had it.
    pub(super) async fn confirm(
        &self,
        call: &Call,
        held: &mut Held,
        record: &Record,
        error: StoreError,
        mut unanswered: bool,
        mut until: Instant,
    ) -> Truth {
        let mut lost = false;
        let mut backoff = Backoff::new();
        let mut completed = Err(error);
        loop {
            match completed {
                Ok(()) => return Truth::Ours,
                Err(StoreError::LeaseLost) => {
                    let was_lost = lost || held.is_lost();
                    match self.regain(call, held, until).await {
                        // However long that took, what was regained is used.
                        Ok(()) if !lost => until = until.max(far(Instant::now(), CONFIRM)),
                        Ok(()) if pause(&mut backoff, until).await => {}
                        Ok(()) => return Truth::Unknown { lost },
                        // An earlier call was applied after all. Tombstones are all alike: one that
                        // may be another's says nothing of our stream.
                        Err(Truth::Other(Landing::Record(found)))
                            if unanswered
                                && found == *record
                                && !(was_lost && found.is_tombstone()) =>
                        {
                            return Truth::Ours;
                        }
                        Err(truth) => return truth,
                    }
                    lost = true;
                }
                Err(_unanswered) => {
                    unanswered = true;
                    if !pause(&mut backoff, until).await {
                        return Truth::Unknown { lost };
                    }
                }
            }
            completed = self.enter(call, held.lease(), Entry::Complete(record), until).await;
        }
    }

    /// The lease was lost: waits for whoever has it, or acquires what nobody holds, only to complete.
    async fn regain(&self, call: &Call, held: &mut Held, until: Instant) -> Result<(), Truth> {
        let patience = far(Instant::now(), call.policy.wait());
        let mut backoff = Backoff::new();
        loop {
            let seen = match self.look(call).await {
                seen @ Seen::Elsewhere(_) if !held.may_have_regained() => seen,
                Seen::Free | Seen::Elsewhere(_) => match held.regain(call).await {
                    Ok(()) => return Ok(()),
                    Err(seen) => seen,
                },
                seen => seen,
            };
            let (limit, late) = match seen {
                Seen::Landed(landing) => return Err(Truth::Other(landing)),
                Seen::Free | Seen::Elsewhere(_) => {
                    (patience, Truth::Other(Refusal::InProgress.into()))
                }
                Seen::Silent(_) => (until, Truth::Unknown { lost: true }),
            };
            if !pause(&mut backoff, limit).await {
                return Err(late);
            }
        }
    }

    /// Gives a lease back until the store confirms or denies, up to `until`, after a first call
    /// ended with `error`.
    pub(super) async fn returned(
        &self,
        call: &Call,
        lease: &Lease,
        how: GiveBack,
        error: StoreError,
        until: Instant,
    ) -> Truth {
        let mut backoff = Backoff::new();
        let mut returned = Err(error);
        loop {
            match returned {
                Ok(()) => return Truth::Ours,
                Err(StoreError::LeaseLost) => match self.look(call).await {
                    Seen::Landed(landing) => return Truth::Other(landing),
                    Seen::Free | Seen::Elsewhere(_) => return Truth::Ours,
                    Seen::Silent(_) => {}
                },
                Err(_unanswered) => {}
            }
            if !pause(&mut backoff, until).await {
                return Truth::Unknown { lost: false };
            }
            returned = self.enter(call, lease, Entry::GiveBack(how), until).await;
        }
    }
}
