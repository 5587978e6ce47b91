//! What the store keeps of a key.

use std::time::Duration;

use idempotent_runtime::{
    FencingToken, Fingerprint, KeyState, LeaseId, OperationName, Record, Retention, Steps,
};
use idempotent_testkit::Garbage;

use crate::flaw::Flaw;

/// Since the backend was built.
pub(crate) type Moment = Duration;
pub(crate) const NEVER: Moment = Moment::MAX;

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: LeaseId,
    pub(crate) token: FencingToken,
    pub(crate) first_token: FencingToken,
    pub(crate) attempt: u32,
    pub(crate) operation: OperationName,
    pub(crate) ttl: Duration,
    pub(crate) steps: Steps,
    pub(crate) phase: Phase,
    pub(crate) garbage: Option<Garbage>,
    /// When the row itself goes; never before what its phase says in a store without a flaw.
    pub(crate) expires: Moment,
}

#[derive(Clone)]
pub(crate) enum Phase {
    Leased { until: Moment, retention: Retention, given_up: bool },
    Released { forgotten_at: Moment },
    Freed { forgotten_at: Moment },
    Completed { record: Record, until: Moment },
}

impl Phase {
    pub(crate) fn forgotten_at(&self, flaw: Flaw) -> Moment {
        match self {
            Self::Leased { until, .. } if flaw == Flaw::ForgetsAtTheEndOfTheLease => *until,
            Self::Leased { retention: Retention::UntilResolved, until, .. } => match flaw {
                Flaw::ForgetsTheUnresolved => *until + Duration::from_millis(100),
                _ => NEVER,
            },
            Self::Leased { until, retention: Retention::For(span), .. } => match flaw {
                Flaw::NeverForgetsTheAbandoned => NEVER,
                _ => until.saturating_add(*span),
            },
            Self::Released { forgotten_at } | Self::Freed { forgotten_at } => *forgotten_at,
            Self::Completed { until, .. } => *until,
        }
    }
}

impl Row {
    pub(crate) fn is_live(&self, now: Moment) -> bool {
        matches!(self.phase, Phase::Leased { until, .. } if now < until)
    }

    pub(crate) fn state(&self, now: Moment, flaw: Flaw) -> KeyState {
        let (fingerprint, token) = (self.fingerprint, self.token);
        let attempt = self.attempt + u32::from(flaw == Flaw::ShowsTheNextAttempt);
        let operation = self.operation.clone();
        let ttl = match flaw {
            Flaw::ShowsTheTtlThatIsLeft => self.ttl.saturating_sub(now),
            _ => self.ttl,
        };
        let left = |until: &Moment| match flaw {
            Flaw::ShowsNoTimeLeft => Duration::ZERO,
            _ => until.saturating_sub(now),
        };
        match &self.phase {
            Phase::Freed { .. } if flaw != Flaw::ShowsTheFreed => KeyState::Absent,
            Phase::Released { .. } if flaw == Flaw::ShowsNothingReleased => KeyState::Absent,
            Phase::Released { .. } if flaw == Flaw::ShowsReleasedAsAbandoned => {
                KeyState::Abandoned { fingerprint, attempt, token, operation, ttl }
            }
            Phase::Freed { .. } | Phase::Released { .. } => {
                KeyState::Released { fingerprint, attempt, token, operation, ttl }
            }
            Phase::Leased { until, .. } if now < *until || flaw == Flaw::ShowsTheLapsedAsLeased => {
                let expires_in = left(until);
                KeyState::Leased { fingerprint, attempt, token, operation, ttl, expires_in }
            }
            Phase::Leased { .. } => {
                KeyState::Abandoned { fingerprint, attempt, token, operation, ttl }
            }
            Phase::Completed { record, until } => {
                KeyState::Completed { record: record.clone(), expires_in: left(until) }
            }
        }
    }
}
