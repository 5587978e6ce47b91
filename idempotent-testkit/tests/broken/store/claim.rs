//! What an `acquire` is answered.

use std::time::Duration;

use idempotent_runtime::{
    AcquireRequest, Acquired, FencingToken, Lease, LeaseId, Retention, Steps, StorageKey,
    StoreError,
};

use super::Broken;
use crate::{
    codec::{kept_operation, kept_steps, kept_ttl},
    flaw::Flaw,
    row::{Moment, NEVER, Phase, Row},
};

impl Broken {
    fn lease(&self, key: &StorageKey, row: &Row) -> Lease {
        let mut steps = row.steps.clone();
        if self.is(Flaw::SharesSteps) {
            steps.extend(self.backend.steps_of_all.lock().unwrap().clone());
        }
        let attempt = row.attempt - u32::from(self.is(Flaw::CountsAttemptsFromZero));
        self.granted.lock().unwrap().push(self.key(key));
        Lease::new(*key, row.id, row.token, attempt)
            .with_first_token(row.first_token)
            .with_steps(kept_steps(self.flaw, steps))
    }

    fn leased(&self, request: &AcquireRequest<'_>, now: Moment) -> Phase {
        let lease_for = match (self.flaw, request.retention) {
            (Flaw::RetentionIsTheLease, Retention::For(retention)) => retention,
            _ => request.lease_for,
        };
        let retention = match request.retention {
            Retention::For(span) => Retention::For(self.span(span)),
            Retention::UntilResolved => Retention::UntilResolved,
        };
        Phase::Leased { until: self.after(now, lease_for), retention, given_up: false }
    }

    /// Until `lease_for` from now, unless the owner gave the lease up.
    pub(super) fn extend(
        &self,
        row: &mut Row,
        lease_for: Duration,
        revives: Flaw,
        does_nothing: Flaw,
    ) -> Result<(), StoreError> {
        if let Phase::Leased { until, given_up, .. } = &mut row.phase {
            if *given_up && !self.is(revives) {
                return Err(StoreError::LeaseLost);
            }
            if !self.is(does_nothing) {
                *until = self.after(self.now(), lease_for);
            }
        }
        Ok(())
    }

    /// What is kept for people.
    fn describe(&self, row: &mut Row, request: &AcquireRequest<'_>) {
        if !self.is(Flaw::KeepsTheFirstOperation) {
            row.operation = kept_operation(self.flaw, request.operation);
            row.ttl = kept_ttl(self.flaw, request.ttl);
        }
    }

    pub(super) fn same_id(&self, one: LeaseId, two: LeaseId) -> bool {
        match self.flaw {
            Flaw::ComparesHalfTheLeaseId => one.as_bytes()[..8] == two.as_bytes()[..8],
            _ => one == two,
        }
    }

    fn is_mismatch(&self, row: &Row, request: &AcquireRequest<'_>, now: Moment) -> bool {
        let (one, two) = (row.fingerprint.as_bytes(), request.fingerprint.as_bytes());
        let live = row.is_live(now);
        let unchecked = match &row.phase {
            Phase::Leased { .. } if live => self.is(Flaw::ComparesTheFingerprintAfterTheLease),
            Phase::Leased { .. } => self.is(Flaw::ForgetsTheFingerprintOfTheAbandoned),
            Phase::Released { .. } => {
                self.is(Flaw::ForgetsTheFingerprintOnRelease)
                    || self.is(Flaw::ComparesTheReleasedIdFirst) && row.id == request.lease_id
            }
            Phase::Freed { .. } => !self.is(Flaw::AFreeKeepsTheFingerprint),
            Phase::Completed { .. } => self.is(Flaw::ReplaysToAnotherRequest),
        };
        let half = self.is(Flaw::ComparesHalfTheFingerprint) && one[..16] == two[..16];
        one != two && !unchecked && !half
    }

    /// The answer, and what is written; by one look at the row.
    pub(super) fn decide(
        &self,
        row: Option<Row>,
        request: &AcquireRequest<'_>,
        now: Moment,
    ) -> Result<(Acquired, Option<Row>), StoreError> {
        let Some(mut row) = row else {
            let token = self.token(None);
            let row = Row {
                fingerprint: *request.fingerprint,
                id: request.lease_id,
                token,
                first_token: match self.flaw {
                    Flaw::LosesTheFirstToken => FencingToken::from_u64(0),
                    _ => token,
                },
                attempt: 1,
                operation: kept_operation(self.flaw, request.operation),
                ttl: kept_ttl(self.flaw, request.ttl),
                steps: Steps::new(),
                phase: self.leased(request, now),
                garbage: None,
                expires: NEVER,
            };
            return Ok((Acquired::Granted(self.lease(request.key, &row)), Some(self.own(row))));
        };
        if self.is_mismatch(&row, request, now) {
            if self.is(Flaw::AMismatchEndsTheLease) && row.is_live(now) {
                row.phase = Phase::Released { forgotten_at: NEVER };
                return Ok((Acquired::FingerprintMismatch, Some(row)));
            }
            if self.is(Flaw::MismatchesSetTheOperation) {
                self.describe(&mut row, request);
                return Ok((Acquired::FingerprintMismatch, Some(row)));
            }
            return Ok((Acquired::FingerprintMismatch, None));
        }
        let same_id = self.same_id(row.id, request.lease_id);
        match row.phase.clone() {
            Phase::Completed { record, until } => {
                if same_id && self.is(Flaw::GrantsItsOwnerAgainAfterCompletion) {
                    row.phase = self.leased(request, now);
                    return Ok((Acquired::Granted(self.lease(request.key, &row)), Some(row)));
                }
                let expires_in = match self.flaw {
                    Flaw::ShowsNoTimeLeft => Duration::ZERO,
                    Flaw::ShowsTheWholeTime => until,
                    _ => until.saturating_sub(now),
                };
                let answer = Acquired::Completed { record, expires_in };
                match self.flaw {
                    Flaw::ReplaysOnce => row.phase = Phase::Released { forgotten_at: NEVER },
                    Flaw::LookingExtends => {
                        row.phase = match row.phase {
                            Phase::Completed { record, until } => Phase::Completed {
                                record,
                                until: until + until.saturating_sub(now),
                            },
                            phase => phase,
                        }
                    }
                    _ => return Ok((answer, None)),
                }
                Ok((answer, Some(row)))
            }
            Phase::Released { .. } if same_id && !self.is(Flaw::GrantsTheReleasedIdAgain) => {
                Err(StoreError::LeaseLost)
            }
            Phase::Freed { .. } if same_id && !self.is(Flaw::GrantsTheFreedIdAgain) => {
                Err(StoreError::LeaseLost)
            }
            Phase::Leased { until, .. }
                if same_id && (now < until || !self.is(Flaw::LosesTheLapsed)) =>
            {
                if !self.is(Flaw::ARepetitionKeepsTheOldDeadline) {
                    row.phase = self.leased(request, now);
                }
                if self.is(Flaw::ARepetitionDrawsAToken) {
                    row.token = self.token(Some(row.token));
                }
                if self.is(Flaw::ARepetitionBeginsALife) {
                    row.first_token = row.token;
                }
                if !self.is(Flaw::ARepetitionKeepsTheOldOperation) {
                    self.describe(&mut row, request);
                }
                let mut shown = row.clone();
                if self.is(Flaw::ARepetitionShowsNoSteps) {
                    shown.steps.clear();
                }
                Ok((Acquired::Granted(self.lease(request.key, &shown)), Some(self.own(row))))
            }
            Phase::Leased { until, retention, given_up }
                if now < until && !self.is(Flaw::GrantsWhatIsLeased) =>
            {
                let lease_expires_in = match self.flaw {
                    Flaw::ShowsTheWholeTime => request.lease_for,
                    Flaw::ShowsNoTimeLeft => Duration::ZERO,
                    _ => until.saturating_sub(now),
                };
                let answer = Acquired::InFlight { lease_expires_in };
                if self.is(Flaw::ADuplicateExtendsTheLease) {
                    let until = self.after(now, request.lease_for);
                    row.phase = Phase::Leased { until, retention, given_up };
                    return Ok((answer, Some(row)));
                }
                if self.is(Flaw::RefusalsSetTheOperation) {
                    self.describe(&mut row, request);
                    return Ok((answer, Some(row)));
                }
                Ok((answer, None))
            }
            Phase::Leased { .. } if !request.takeover && !self.is(Flaw::AlwaysTakesOver) => {
                Ok((Acquired::Abandoned { attempt: row.attempt }, None))
            }
            Phase::Freed { .. } => {
                row.id = request.lease_id;
                row.fingerprint = *request.fingerprint;
                row.token = match self.flaw {
                    Flaw::AFreeResetsTheToken => FencingToken::from_u64(1),
                    _ => self.token(Some(row.token)),
                };
                if !self.is(Flaw::AFreeKeepsTheFirstToken) {
                    row.first_token = row.token;
                }
                row.attempt = if self.is(Flaw::AFreeKeepsTheAttempt) { row.attempt + 1 } else { 1 };
                if !self.is(Flaw::AFreeKeepsTheSteps) {
                    row.steps.clear();
                }
                if !self.is(Flaw::FreedKeysKeepTheirOwnExpiry) {
                    row.expires = NEVER;
                }
                row.phase = self.leased(request, now);
                self.describe(&mut row, request);
                Ok((Acquired::Granted(self.lease(request.key, &row)), Some(self.own(row))))
            }
            phase => {
                row.id = request.lease_id;
                let lapsed = matches!(phase, Phase::Leased { .. });
                if !(lapsed && self.is(Flaw::ATakeoverKeepsTheToken)) {
                    row.token = match (lapsed, self.flaw) {
                        (false, Flaw::AReleaseResetsTheToken) => FencingToken::from_u64(1),
                        _ => self.token(Some(row.token)),
                    };
                }
                match (lapsed, self.flaw) {
                    (true, Flaw::ATakeoverIsTheSameAttempt) => {}
                    (false, Flaw::AReleaseResetsTheAttempt) => row.attempt = 1,
                    _ => row.attempt += 1,
                }
                match (lapsed, self.flaw) {
                    (true, Flaw::LosesStepsOnTakeover) | (false, Flaw::LosesStepsOnRelease) => {
                        row.steps.clear();
                    }
                    _ => {}
                }
                if matches!(
                    (lapsed, self.flaw),
                    (true, Flaw::ATakeoverBeginsALife) | (false, Flaw::AReleaseBeginsALife)
                ) {
                    row.first_token = row.token;
                }
                self.describe(&mut row, request);
                if self.is(Flaw::ForgetsTheFingerprintOnRelease) {
                    row.fingerprint = *request.fingerprint;
                }
                if !self.is(Flaw::ReleasedKeysKeepTheirOwnExpiry)
                    && !self.is(Flaw::TakeoversKeepTheirOwnExpiry)
                {
                    row.expires = NEVER;
                }
                row.phase = self.leased(request, now);
                if let (true, Flaw::TakeoversKeepTheirOwnExpiry) = (lapsed, self.flaw) {
                    return Ok((Acquired::Granted(self.lease(request.key, &row)), Some(row)));
                }
                Ok((Acquired::Granted(self.lease(request.key, &row)), Some(self.own(row))))
            }
        }
    }

    /// Rows that expire by themselves, in a store that sets that once and forgets to set it anew.
    fn own(&self, mut row: Row) -> Row {
        let fresh = row.expires == NEVER;
        let at = row.phase.forgotten_at(self.flaw);
        match self.flaw {
            Flaw::CompletionsKeepTheirOwnExpiry
            | Flaw::RenewalsKeepTheirOwnExpiry
            | Flaw::ReleasesKeepTheirOwnExpiry
            | Flaw::FreesKeepTheirOwnExpiry
            | Flaw::TakeoversKeepTheirOwnExpiry
                if fresh =>
            {
                row.expires = at;
            }
            _ => {}
        }
        row
    }

    /// Whether a read is followed by a pause in which others may write.
    pub(super) fn is_racy(&self, row: Option<&Row>) -> bool {
        match row.map(|row| &row.phase) {
            None => self.is(Flaw::ChecksThenInserts),
            Some(Phase::Leased { .. }) => self.is(Flaw::ChecksThenTakesOver),
            Some(Phase::Released { .. }) => self.is(Flaw::ChecksThenTakesTheReleased),
            Some(Phase::Freed { .. }) => self.is(Flaw::ChecksThenTakesTheFreed),
            Some(Phase::Completed { .. }) => false,
        }
    }
}
