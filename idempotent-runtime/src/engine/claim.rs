//! Row "look-up": asks the store for the lease, and waits while another process holds it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Backoff, Call, Engine,
    entry::CONFIRM,
    far,
    held::{GivenUp, Held, Permit, Running},
};
use crate::{
    flight::{Landing, Leading},
    lease::{Lease, LeaseId},
    outage::{Cause, Ends},
    refusal::{Refusal, Refused},
    store::{AcquireRequest, Acquired, KeyState, Retention, StoreError},
};

/// How often an `acquire` whose answer is unknown is sent.
const TRIES: usize = 2;

/// What the store says of an operation, other than "it is yours".
pub(super) enum Seen {
    /// Nobody holds it, and it has no outcome.
    Free,
    /// Another process holds the lease, which runs out then unless it is renewed.
    Elsewhere(Duration),
    /// There is an answer.
    Landed(Landing),
    /// Nothing: it could not be asked, or has no room.
    Silent(StoreError),
}

impl Engine {
    /// Claims an operation that nobody else holds, where the store answers at once: no future, no box.
    /// Whatever else is the case, `leading` comes back and [`claim`](Self::claim) finds out.
    pub(super) fn claim_at_once(
        self: &Arc<Self>,
        call: &Call,
        leading: Leading,
    ) -> Result<Running, Leading> {
        let Some(memory) = &self.memory else { return Err(leading) };
        if self.is_draining() || !leading.is_wanted() {
            return Err(leading);
        }
        let Some(permit) = Permit::take(self) else { return Err(leading) };
        let since = Instant::now();
        match memory.acquire_at_once(&call.request(LeaseId::random()), since) {
            Ok(Acquired::Granted(lease)) => {
                self.outages.recovered(Ends::GRANTED);
                let held = Held::new(self, lease, call, since);
                Ok(Running::new(permit, leading, Some(held)))
            }
            _ => Err(leading),
        }
    }

    /// Claims the operation of `call`; while another process holds it, looks again up to `deadline`,
    /// which is that of a call that has not waited yet where it is `None`. Where nothing is won, those
    /// who wait are told too.
    pub(super) async fn claim(
        self: &Arc<Self>,
        call: &Call,
        leading: Leading,
        deadline: Option<Instant>,
    ) -> Result<Running, Landing> {
        let deadline = deadline.unwrap_or_else(|| far(Instant::now(), call.policy.wait()));
        match self.win(call, &leading, deadline).await {
            Ok((held, permit)) => Ok(Running::new(permit, leading, held)),
            Err(landing) => {
                let own = match &landing {
                    Landing::Vanished => Landing::Refused(leading.flight().in_progress()),
                    landing => landing.clone(),
                };
                leading.land(|| landing);
                Err(own)
            }
        }
    }

    async fn win(
        self: &Arc<Self>,
        call: &Call,
        leading: &Leading,
        deadline: Instant,
    ) -> Result<(Option<Held>, Permit), Landing> {
        loop {
            let Some(permit) = Permit::take(self) else {
                // What has ended is answered all the same.
                return Err(match Box::pin(self.look(call)).await {
                    Seen::Landed(landing) => landing,
                    _ => Refusal::TooManyRunning.into(),
                });
            };
            let seen = match self.is_draining() {
                true => match Box::pin(self.look(call)).await {
                    Seen::Free | Seen::Silent(_) => return Err(Refusal::Draining.into()),
                    seen => seen,
                },
                false => match self.acquire(call).await {
                    Ok((lease, since)) => {
                        let held = Held::new(self, lease, call, since);
                        // A lease granted to nobody is released at once, as `held` is dropped.
                        let wanted = leading.is_wanted();
                        return if wanted {
                            Ok((Some(held), permit))
                        } else {
                            Err(Landing::Vanished)
                        };
                    }
                    Err(seen) => seen,
                },
            };
            match seen {
                Seen::Free => {}
                Seen::Landed(landing) => return Err(landing),
                Seen::Silent(error) => {
                    if call.policy.bypasses() && leading.supersedes() {
                        drop(permit);
                        leading.elsewhere();
                        match Box::pin(leading.superseded_outcome(deadline)).await {
                            Some(Landing::Vanished) => continue,
                            landing => return Err(landing.unwrap_or(Landing::Vanished)),
                        }
                    }
                    return self.without_store(call, error).map(|()| (None, permit));
                }
                Seen::Elsewhere(expires_in) => {
                    drop(permit);
                    leading.elsewhere();
                    call.note_lapse(leading, expires_in);
                    Box::pin(self.watch(call, leading, deadline)).await?;
                }
            }
        }
    }

    /// Looks at a key that another process holds until it is free to acquire.
    async fn watch(
        &self,
        call: &Call,
        leading: &Leading,
        deadline: Instant,
    ) -> Result<(), Landing> {
        let mut backoff = Backoff::new();
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() || !leading.has_requester() {
                // Waiters with more patience ask the store themselves; one of them polls for all.
                return Err(Landing::Vanished);
            }
            sleep(backoff.next().min(patience)).await;
            match self.look(call).await {
                Seen::Free => return Ok(()),
                Seen::Landed(landing) => return Err(landing),
                Seen::Elsewhere(expires_in) => call.note_lapse(leading, expires_in),
                // A store that is away for a moment is asked again while patience lasts.
                Seen::Silent(_) => {}
            }
        }
    }

    /// A look that changes nothing and locks nothing.
    pub(super) async fn look(&self, call: &Call) -> Seen {
        let state = match self.bounded(self.store.inspect(&call.key)).await {
            Ok(state) => state,
            Err(error @ StoreError::Corrupt(_)) => {
                return Seen::Landed(self.unreadable(call, error));
            }
            Err(error) => {
                self.outages.failed(Cause::Unreachable, &call.operation, &call.key, &error);
                return Seen::Silent(error);
            }
        };
        self.outages.recovered(Ends::ANSWERED);
        if state.fingerprint().is_some_and(|stored| *stored != call.fingerprint) {
            return Seen::Landed(Refusal::KeyReused.into());
        }
        match state {
            KeyState::Completed { record, .. } => Seen::Landed(Landing::Record(record)),
            KeyState::Leased { expires_in, .. } => Seen::Elsewhere(expires_in),
            KeyState::Absent | KeyState::Released { .. } | KeyState::Abandoned { .. } => Seen::Free,
        }
    }

    /// Asks for the lease, and tells since when it holds at the least. A call whose answer is unknown
    /// is repeated with the same id, which a store that has granted it grants again.
    async fn acquire(self: &Arc<Self>, call: &Call) -> Result<(Lease, Instant), Seen> {
        let request = call.request(LeaseId::random());
        let mut unknown = StoreError::Timeout;
        for _ in 0..TRIES {
            let since = Instant::now();
            match self.bounded(self.store.acquire(request)).await {
                // It took longer than the lease, which may be another's by now.
                Ok(Acquired::Granted(_)) if since.elapsed() >= request.lease_for => {
                    unknown = StoreError::Timeout;
                }
                Ok(acquired) => {
                    self.outages.recovered(match &acquired {
                        Acquired::Granted(_) => Ends::GRANTED,
                        _ => Ends::ANSWERED,
                    });
                    return call.granted(acquired).map(|lease| (lease, since));
                }
                Err(error @ StoreError::Corrupt(_)) => {
                    return Err(Seen::Landed(self.unreadable(call, error)));
                }
                Err(error) if error.is_unknown() => unknown = error,
                Err(error) => return Err(Seen::Silent(error)),
            }
        }
        self.withdraw(call, request.lease_id);
        Err(Seen::Silent(unknown))
    }

    /// Gives up an `acquire` that may have been granted: asks once more with the same id, which tells
    /// the token, and releases. The store refuses the id from then on, however late a call arrives.
    /// A store that is away is asked until the lease would have lapsed anyway.
    fn withdraw(self: &Arc<Self>, call: &Call, lease_id: LeaseId) {
        let (engine, call) = (Arc::clone(self), call.clone());
        self.tasks.spawn(async move {
            let lapsed = far(Instant::now(), call.policy.lease());
            loop {
                match engine.bounded(engine.store.acquire(call.request(lease_id))).await {
                    Ok(Acquired::Granted(lease)) => {
                        return engine.give_up(&lease, GivenUp::Released(call.policy.ttl())).await;
                    }
                    Err(error) if error.is_unknown() => {}
                    _ => return,
                }
                if Instant::now() >= lapsed || engine.is_draining() {
                    return;
                }
                sleep(CONFIRM.mul_f64(rand::random_range(0.5..=1.0))).await;
            }
        });
    }

    /// Acquires an operation that nobody holds, only to complete an outcome that this process has.
    /// `id` is that of an earlier call without an answer, and is left there when this has none.
    pub(super) async fn acquire_to_complete(
        &self,
        call: &Call,
        id: &mut Option<Box<LeaseId>>,
    ) -> Result<(Lease, Instant), Seen> {
        let lease_id = **id.get_or_insert_with(|| Box::new(LeaseId::random()));
        let request = call.request(lease_id).takeover(true);
        let since = Instant::now();
        match self.bounded(self.store.acquire(request)).await {
            Err(error) if error.is_unknown() => Err(Seen::Silent(error)),
            answered => {
                *id = None;
                call.granted(answered.map_err(Seen::Silent)?).map(|lease| (lease, since))
            }
        }
    }

    fn unreadable(&self, call: &Call, error: StoreError) -> Landing {
        self.outages.failed(Cause::Unreadable, &call.operation, &call.key, &error);
        Landing::Refused(Refused::by_store(Refusal::RecordUnreadable, error))
    }

    /// Row "store unreachable or full": `Ok` when the handler may run without a lease.
    fn without_store(&self, call: &Call, error: StoreError) -> Result<(), Landing> {
        let (cause, refusal) = match error {
            StoreError::Full => (Cause::Full, Refusal::StoreFull),
            _ => (Cause::Unreachable, Refusal::StoreUnavailable),
        };
        let bypasses = call.policy.bypasses();
        let cause = if bypasses { Cause::Unguarded } else { cause };
        self.outages.failed(cause, &call.operation, &call.key, &error);
        match bypasses {
            true => Ok(()),
            false => Err(Landing::Refused(Refused::by_store(refusal, error))),
        }
    }
}

impl Call {
    fn request(&self, lease_id: LeaseId) -> AcquireRequest<'_> {
        let halt = self.policy.halts();
        AcquireRequest::new(&self.key, &self.fingerprint, lease_id, self.policy.lease())
            .takeover(!halt)
            .operation(&self.operation, self.policy.ttl())
            .retention(match halt {
                true => Retention::UntilResolved,
                false => Retention::For(self.policy.ttl()),
            })
    }

    fn granted(&self, acquired: Acquired) -> Result<Lease, Seen> {
        Err(match acquired {
            Acquired::Granted(lease) => return Ok(lease),
            Acquired::InFlight { lease_expires_in } => Seen::Elsewhere(lease_expires_in),
            Acquired::FingerprintMismatch => Seen::Landed(Refusal::KeyReused.into()),
            Acquired::Abandoned { .. } => Seen::Landed(Refusal::OutcomeUnknown.into()),
            // Compared here too, whatever the store did.
            Acquired::Completed { record, .. } if *record.fingerprint() != self.fingerprint => {
                Seen::Landed(Refusal::KeyReused.into())
            }
            Acquired::Completed { record, .. } => Seen::Landed(Landing::Record(record)),
        })
    }

    /// A lease that was not renewed when it was due belongs to a process that is gone: those who give up
    /// waiting are told when it runs out.
    fn note_lapse(&self, leading: &Leading, expires_in: Duration) {
        // Renewed at a third; a renewal may be a little late.
        let missed = expires_in < self.policy.lease().mul_f64(0.6);
        leading.lapses(missed.then(|| far(Instant::now(), expires_in)));
    }
}

impl From<Refusal> for Landing {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}
