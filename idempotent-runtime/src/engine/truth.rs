//! After the handler ran, the store decides what is true.

use tokio::time::Instant;

use super::{
    Backoff, Call, Engine,
    claim::Seen,
    far,
    settle::{Entry, pause},
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
    /// Completes until the store confirms or denies, up to `until`, after a first `complete` ended
    /// with `error`.
    pub(super) async fn confirm(
        &self,
        call: &Call,
        lease: &Lease,
        record: &Record,
        error: StoreError,
        until: Instant,
    ) -> Truth {
        let (mut again, mut unanswered) = (None, false);
        let mut backoff = Backoff::new();
        let mut completed = Err(error);
        loop {
            match completed {
                Ok(()) => return Truth::Ours,
                Err(StoreError::LeaseLost) => match self.regain(call, until).await {
                    Ok(lease) => again = Some(lease),
                    // An earlier call was applied after all.
                    Err(Truth::Other(Landing::Record(found))) if unanswered && found == *record => {
                        return Truth::Ours;
                    }
                    Err(truth) => return truth,
                },
                Err(error) => {
                    unanswered = true;
                    tracing::warn!(key = %call.key.short(), %error, "complete got no answer");
                    if !pause(&mut backoff, until).await {
                        return Truth::Unknown { lost: again.is_some() };
                    }
                }
            }
            let lease = again.as_ref().unwrap_or(lease);
            completed = self.enter(call, lease, Entry::Complete(record), until).await;
        }
    }

    /// The lease was lost: waits for whoever has it, or acquires what nobody holds, only to complete.
    async fn regain(&self, call: &Call, until: Instant) -> Result<Lease, Truth> {
        let patience = far(Instant::now(), call.policy.wait);
        let mut backoff = Backoff::new();
        loop {
            let seen = match self.look(call).await {
                Seen::Free => match self.acquire_to_complete(call).await {
                    Ok(lease) => return Ok(lease),
                    Err(seen) => seen,
                },
                seen => seen,
            };
            let (limit, late) = match seen {
                Seen::Landed(landing) => return Err(Truth::Other(landing)),
                Seen::Free | Seen::Elsewhere => {
                    (patience, Truth::Other(Refusal::InProgress.into()))
                }
                Seen::Silent(_) => (until, Truth::Unknown { lost: true }),
            };
            if !pause(&mut backoff, limit).await {
                return Err(late);
            }
        }
    }

    /// Releases or abandons until the store confirms or denies, up to `until`, after a first call
    /// ended with `error`.
    pub(super) async fn returned(
        &self,
        call: &Call,
        lease: &Lease,
        entry: Entry<'_>,
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
                    Seen::Free | Seen::Elsewhere => return Truth::Ours,
                    Seen::Silent(_) => {}
                },
                Err(error) => {
                    tracing::warn!(key = %call.key.short(), %error, "release got no answer");
                }
            }
            if !pause(&mut backoff, until).await {
                return Truth::Unknown { lost: false };
            }
            returned = self.enter(call, lease, entry, until).await;
        }
    }
}
