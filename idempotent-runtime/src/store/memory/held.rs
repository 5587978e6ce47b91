//! A key without an outcome: leased, released or abandoned.

use std::time::Duration;

use bytes::Bytes;

use super::{
    budget::{Charge, KEY_COST, REMEMBERED_COST, STEP_RESERVE, step_cost, steps_cost},
    clock::{Moment, Tokens},
};
use crate::{
    fingerprint::Fingerprint,
    key::StorageKey,
    lease::{FencingToken, Lease, LeaseId, SavedSteps},
    operation::OperationName,
    store::{AcquireRequest, Acquired, KeyState, Retention, StoreError},
};

/// What is known of a key from its first lease to its outcome.
#[derive(Debug)]
pub(super) struct Held {
    fingerprint: Fingerprint,
    /// Of the lease, or the last to be released.
    lease_id: LeaseId,
    token: FencingToken,
    first_token: FencingToken,
    attempt: u32,
    /// For how many steps there is room before they run.
    reserved: u32,
    phase: Phase,
    operation: OperationName,
    ttl: Duration,
    steps: SavedSteps,
    pub(super) charge: Charge,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Abandoned from `until` on.
    Leased {
        until: Moment,
        retention: Retention,
        /// By its owner: a renewal that arrives late does not bring it back.
        given_up: bool,
    },
    Released {
        forgotten_at: Moment,
    },
    /// As good as absent, but for the token and the lease's id.
    Freed {
        forgotten_at: Moment,
    },
}

impl Phase {
    fn leased(request: &AcquireRequest<'_>, now: Moment) -> Self {
        let (until, retention) = (now.after(request.lease_for), request.retention);
        Self::Leased { until, retention, given_up: false }
    }

    fn forgotten_at(self) -> Moment {
        match self {
            Self::Leased { retention: Retention::UntilResolved, .. } => Moment::NEVER,
            Self::Leased { until, retention: Retention::For(retention), .. } => {
                until.after(retention)
            }
            Self::Released { forgotten_at } | Self::Freed { forgotten_at } => forgotten_at,
        }
    }
}

impl Held {
    /// The first lease of a key.
    pub(super) fn new(
        request: &AcquireRequest<'_>,
        token: FencingToken,
        charge: Charge,
        now: Moment,
    ) -> Self {
        Self {
            fingerprint: *request.fingerprint,
            lease_id: request.lease_id,
            token,
            first_token: token,
            attempt: 1,
            reserved: 0,
            phase: Phase::leased(request, now),
            operation: request.operation.clone(),
            ttl: request.ttl,
            steps: SavedSteps::default(),
            charge,
        }
    }

    pub(super) fn forgotten_at(&self) -> Moment {
        self.phase.forgotten_at()
    }

    pub(super) fn is_forgotten(&self, now: Moment) -> bool {
        self.forgotten_at().has_come(now)
    }

    /// It was given back: room is kept for what is known, and for no record.
    pub(super) fn put_aside(&mut self) {
        self.reserved = 0;
        let name = self.operation.own_bytes();
        self.charge.set(REMEMBERED_COST + name + steps_cost(&self.steps));
    }

    /// It is leased again. A key that is known is not refused for want of room.
    pub(super) fn take_up(&mut self) {
        self.charge.set(KEY_COST + steps_cost(&self.steps));
    }

    /// Whether nothing is known of it for anybody who asks.
    pub(super) fn is_absent(&self, now: Moment) -> bool {
        self.is_forgotten(now) || matches!(self.phase, Phase::Freed { .. })
    }

    pub(super) fn is_live(&self, now: Moment) -> bool {
        matches!(self.phase, Phase::Leased { until, .. } if !until.has_come(now))
    }

    /// Id alone would let a late duplicate of an `acquire` revive a paused owner.
    pub(super) fn is_owned_by(&self, lease: &Lease, now: Moment) -> bool {
        matches!(self.phase, Phase::Leased { .. })
            && self.lease_id == lease.id
            && self.token == lease.token
            && !self.is_forgotten(now)
    }

    pub(super) fn lease(&self, key: &StorageKey) -> Lease {
        Lease {
            key: *key,
            id: self.lease_id,
            token: self.token,
            attempt: self.attempt,
            first_token: self.first_token,
            steps: self.steps.clone(),
        }
    }

    pub(super) fn acquire(
        &mut self,
        request: &AcquireRequest<'_>,
        tokens: &Tokens,
        now: Moment,
    ) -> Result<Acquired, StoreError> {
        let same_id = self.lease_id == request.lease_id;
        let freed = matches!(self.phase, Phase::Freed { .. });
        if self.fingerprint != *request.fingerprint && !freed {
            return Ok(Acquired::FingerprintMismatch);
        }
        match self.phase {
            Phase::Released { .. } | Phase::Freed { .. } if same_id => {
                return Err(StoreError::LeaseLost);
            }
            Phase::Leased { until, .. } if same_id => {
                // Asked again after a lost answer: the caller counts from its last call.
                let until = until.max(now.after(request.lease_for));
                let retention = request.retention;
                self.phase = Phase::Leased { until, retention, given_up: false };
                (self.operation, self.ttl) = (request.operation.clone(), request.ttl);
                return Ok(Acquired::Granted(self.lease(request.key)));
            }
            Phase::Leased { until, .. } if !until.has_come(now) => {
                return Ok(Acquired::InFlight { lease_expires_in: until.remaining(now) });
            }
            Phase::Leased { .. } if !request.takeover => {
                return Ok(Acquired::Abandoned { attempt: self.attempt });
            }
            Phase::Leased { .. } | Phase::Released { .. } | Phase::Freed { .. } => {}
        }
        self.lease_id = request.lease_id;
        self.token = tokens.next(now);
        if freed {
            (self.attempt, self.first_token) = (1, self.token);
            self.fingerprint = *request.fingerprint;
        } else {
            self.attempt = self.attempt.saturating_add(1);
        }
        self.phase = Phase::leased(request, now);
        (self.operation, self.ttl) = (request.operation.clone(), request.ttl);
        Ok(Acquired::Granted(self.lease(request.key)))
    }

    pub(super) fn renew(&mut self, deadline: Moment) -> Result<(), StoreError> {
        match &mut self.phase {
            Phase::Leased { until, given_up: false, .. } => *until = deadline,
            _ => return Err(StoreError::LeaseLost),
        }
        Ok(())
    }

    pub(super) fn abandon(&mut self, now: Moment) {
        if let Phase::Leased { until, given_up, .. } = &mut self.phase {
            (*until, *given_up) = (now, true);
        }
    }

    pub(super) fn release(&mut self, retention: Duration, now: Moment) {
        self.phase = Phase::Released { forgotten_at: now.after(retention) };
    }

    pub(super) fn free(&mut self, retention: Duration, now: Moment) {
        self.phase = Phase::Freed { forgotten_at: now.after(retention) };
        self.steps = SavedSteps::default();
    }

    /// Makes room for the result of one more step. That of a step which failed is kept until the lease ends.
    pub(super) fn reserve_step(&mut self) -> Result<(), StoreError> {
        self.charge.grow(STEP_RESERVE)?;
        self.reserved += 1;
        Ok(())
    }

    pub(super) fn save_step(&mut self, name: &str, value: &Bytes) -> Result<(), StoreError> {
        match self.steps.get(name) {
            Some(saved) if saved == value => return Ok(()),
            Some(_) => return Err(StoreError::StepConflict { name: name.into() }),
            None => {}
        }
        let cost = step_cost(&self.steps, name, value);
        if self.reserved == 0 {
            self.charge.grow(cost)?;
        } else {
            self.reserved -= 1;
            self.charge.exchange(STEP_RESERVE, cost);
        }
        // Not as a part of a larger buffer, which would live as long.
        self.steps.insert(name.to_owned(), Bytes::copy_from_slice(value));
        Ok(())
    }

    pub(super) fn state(&self, now: Moment) -> KeyState {
        let Self { fingerprint, attempt, token, ttl, .. } = *self;
        let operation = self.operation.clone();
        match self.phase {
            Phase::Freed { .. } => KeyState::Absent,
            Phase::Released { .. } => {
                KeyState::Released { fingerprint, attempt, token, operation, ttl }
            }
            Phase::Leased { until, .. } if !until.has_come(now) => {
                let expires_in = until.remaining(now);
                KeyState::Leased { fingerprint, attempt, token, operation, ttl, expires_in }
            }
            Phase::Leased { .. } => {
                KeyState::Abandoned { fingerprint, attempt, token, operation, ttl }
            }
        }
    }
}
