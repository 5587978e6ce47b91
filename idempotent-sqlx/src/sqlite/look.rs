//! What a look at a key says.

use std::time::Duration;

use idempotent_runtime::{
    AcquireRequest, Acquired, FencingToken, Fingerprint, KeyState, LeaseId, OperationName, Record,
    StorageKey, StoreError,
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Failed, sql};
use crate::{
    fields::{self, Unreadable},
    micros::duration,
};

/// What is known of a key.
pub(super) struct Seen {
    lease_id: Option<Vec<u8>>,
    released_id: Option<Vec<u8>>,
    pub(super) token: FencingToken,
    pub(super) first_token: FencingToken,
    pub(super) attempt: u32,
    state: State,
    fingerprint: Fingerprint,
    operation: OperationName,
    ttl: Duration,
    pub(super) leased_until: i64,
    /// `None`: never.
    forgotten_at: Option<i64>,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Leased,
    Abandoned,
    Released,
    /// As good as absent, but for the token and the id.
    Freed,
}

struct Outcome {
    record: Record,
    expires_at: i64,
}

/// What an `acquire` does about a key.
pub(super) enum Decision {
    Answer(Acquired),
    /// The id is the last that was released.
    Refuse,
    /// Writes.
    Grant(Grant),
}

/// Why a lease is granted on a key that has a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// It was granted to this id before.
    Repeated,
    /// The lease before ran out.
    TakenOver,
    /// The lease before was given back.
    Next,
    /// What is known of the key has expired.
    Anew,
}

impl Seen {
    pub(super) async fn of(
        connection: &mut SqliteConnection,
        key: &StorageKey,
    ) -> Result<Option<Self>, Failed> {
        let row =
            sqlx::query(sql::LOOK).bind(&key.as_bytes()[..]).fetch_optional(connection).await?;
        row.map(|row| Self::read(&row)).transpose()
    }

    fn read(row: &SqliteRow) -> Result<Self, Failed> {
        let outcome = match row.try_get::<Option<i64>, _>(11)? {
            None => None,
            Some(expires_at) => {
                let fingerprint: &[u8] = row.try_get(8)?;
                let record = fields::record(fingerprint, row.try_get(9)?, row.try_get(10)?)?;
                Some(Outcome { record, expires_at })
            }
        };
        Ok(Self {
            lease_id: row.try_get(0)?,
            released_id: row.try_get(1)?,
            token: fields::token(row.try_get(2)?).map_err(StoreError::from)?,
            first_token: fields::token(row.try_get(12)?).map_err(StoreError::from)?,
            operation: OperationName::from(row.try_get::<&str, _>(13)?),
            ttl: duration(row.try_get(14)?),
            attempt: fields::attempt(row.try_get(3)?).map_err(StoreError::from)?,
            state: match row.try_get(4)? {
                "leased" => State::Leased,
                "abandoned" => State::Abandoned,
                "released" => State::Released,
                "freed" => State::Freed,
                other => return Err(StoreError::from(Unreadable::Word(other.to_owned())).into()),
            },
            fingerprint: fields::fingerprint(row.try_get(5)?).map_err(StoreError::from)?,
            leased_until: row.try_get(6)?,
            forgotten_at: row.try_get(7)?,
            outcome,
        })
    }

    /// Whether the key is as good as absent.
    fn has_expired(&self, now: i64) -> bool {
        match &self.outcome {
            Some(outcome) => outcome.expires_at <= now,
            None => self.state == State::Freed || self.forgotten_at.is_some_and(|at| at <= now),
        }
    }

    fn is_live(&self, now: i64) -> bool {
        self.state == State::Leased && self.leased_until > now
    }

    /// Whether a lease holds the key that has not run out.
    pub(super) fn is_leased(&self, now: i64) -> bool {
        self.outcome.is_none() && !self.has_expired(now) && self.is_live(now)
    }

    /// Whether there is something to forget.
    pub(super) fn is_known(&self, now: i64) -> bool {
        !self.has_expired(now)
    }

    pub(super) fn decision(&self, request: &AcquireRequest<'_>, now: i64) -> Decision {
        let is = |id: &Option<Vec<u8>>, other: LeaseId| id.as_deref() == Some(other.as_bytes());
        let remembered = self.forgotten_at.is_none_or(|at| at > now);
        if self.state == State::Freed && remembered && is(&self.released_id, request.lease_id) {
            return Decision::Refuse;
        }
        if self.has_expired(now) {
            return Decision::Grant(Grant::Anew);
        }
        let (whose, outcome) = match &self.outcome {
            Some(outcome) => (outcome.record.fingerprint(), Some(outcome)),
            None => (&self.fingerprint, None),
        };
        if whose != request.fingerprint {
            return Decision::Answer(Acquired::FingerprintMismatch);
        }
        if let Some(Outcome { record, expires_at }) = outcome {
            let expires_in = duration(expires_at - now);
            return Decision::Answer(Acquired::Completed { record: record.clone(), expires_in });
        }
        if self.state == State::Released {
            return match is(&self.released_id, request.lease_id) {
                true => Decision::Refuse,
                false => Decision::Grant(Grant::Next),
            };
        }
        if is(&self.lease_id, request.lease_id) {
            return Decision::Grant(Grant::Repeated);
        }
        if self.leased_until > now {
            let lease_expires_in = duration(self.leased_until - now);
            return Decision::Answer(Acquired::InFlight { lease_expires_in });
        }
        match request.takeover {
            true => Decision::Grant(Grant::TakenOver),
            false => Decision::Answer(Acquired::Abandoned { attempt: self.attempt }),
        }
    }

    pub(super) fn state(self, now: i64) -> KeyState {
        if self.has_expired(now) {
            return KeyState::Absent;
        }
        let live = self.is_live(now);
        let Self { fingerprint, attempt, token, operation, ttl, .. } = self;
        if let Some(Outcome { record, expires_at }) = self.outcome {
            return KeyState::Completed { record, expires_in: duration(expires_at - now) };
        }
        match self.state {
            State::Freed => KeyState::Absent,
            State::Released => KeyState::Released { fingerprint, attempt, token, operation, ttl },
            State::Leased if live => {
                let expires_in = duration(self.leased_until - now);
                KeyState::Leased { fingerprint, attempt, token, operation, ttl, expires_in }
            }
            State::Leased | State::Abandoned => {
                KeyState::Abandoned { fingerprint, attempt, token, operation, ttl }
            }
        }
    }
}

/// What an `acquire` answers that could not look twice: an open transaction holds the database, and
/// the lease that ran out may be completed in it.
pub(super) const IN_FLIGHT: Acquired = Acquired::InFlight { lease_expires_in: Duration::ZERO };
