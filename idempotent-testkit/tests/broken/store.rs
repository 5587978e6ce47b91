//! A store that keeps the contract, but for one flaw.

mod calls;
mod claim;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    FencingToken, Fingerprint, Lease, OperationName, Record, Retention, Steps, StorageKey,
    StoreError,
};
use idempotent_testkit::Garbage;
use tokio::time::Instant;

use crate::{
    flaw::{Call, Flaw},
    row::{Moment, NEVER, Phase, Row},
};

pub(crate) struct Backend {
    origin: Instant,
    by_hand: Option<Mutex<Moment>>,
    rows: Mutex<HashMap<[u8; 32], Row>>,
    last_token: AtomicU64,
    steps_of_all: Mutex<Steps>,
    /// What makes a call one atomic step.
    whole: tokio::sync::Mutex<()>,
}

impl Backend {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_clock(None)
    }

    /// Whose time passes by [`advance`](Self::advance) alone.
    pub(crate) fn by_hand() -> Arc<Self> {
        Self::with_clock(Some(Mutex::default()))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.by_hand.as_ref().unwrap().lock().unwrap() += by;
    }

    fn with_clock(by_hand: Option<Mutex<Moment>>) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            by_hand,
            rows: Mutex::default(),
            last_token: AtomicU64::new(1),
            steps_of_all: Mutex::default(),
            whole: tokio::sync::Mutex::default(),
        })
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<[u8; 32], Row>> {
        self.rows.lock().unwrap()
    }

    pub(crate) fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        let mut rows = self.rows();
        let row = rows.get_mut(key.as_bytes()).unwrap();
        let has_metadata = matches!(row.phase, Phase::Completed { .. });
        let fits = garbage != Garbage::Metadata || has_metadata;
        if fits {
            row.garbage = Some(garbage);
        }
        fits
    }
}

pub(crate) struct Broken {
    backend: Arc<Backend>,
    flaw: Flaw,
    granted: Mutex<Vec<[u8; 32]>>,
    cache: Mutex<HashMap<[u8; 32], Record>>,
}

impl Broken {
    pub(crate) fn new(backend: &Arc<Backend>, flaw: Flaw) -> Self {
        let backend = match flaw {
            Flaw::HandlesShareNothing => Backend::new(),
            _ => Arc::clone(backend),
        };
        Self { backend, flaw, granted: Mutex::default(), cache: Mutex::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn now(&self) -> Moment {
        match &self.backend.by_hand {
            Some(passed) => *passed.lock().unwrap(),
            None => Instant::now() - self.backend.origin,
        }
    }

    fn key(&self, key: &StorageKey) -> [u8; 32] {
        let mut bytes = *key.as_bytes();
        match self.flaw {
            Flaw::AllKeysAreOne => bytes = [0; 32],
            Flaw::KeysAreText => {
                // What is not text becomes one and the same character.
                bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
            }
            _ => {}
        }
        bytes
    }

    /// A span as the store counts it.
    fn span(&self, span: Duration) -> Duration {
        let millis = span.as_millis();
        match self.flaw {
            Flaw::SecondsForMilliseconds => span.saturating_mul(1000),
            Flaw::RoundsDownToSeconds => Duration::from_secs(span.as_secs()),
            Flaw::RoundsUpToSeconds => Duration::from_secs(millis.div_ceil(1000) as u64),
            Flaw::CountsIn32Bits => Duration::from_millis(u64::from(millis as u32)),
            _ => span,
        }
    }

    fn after(&self, now: Moment, span: Duration) -> Moment {
        now.saturating_add(self.span(span))
    }

    fn token(&self, last: Option<FencingToken>) -> FencingToken {
        match self.flaw {
            // Kept with the row alone.
            Flaw::TokensRestart => FencingToken::from_u64(last.map_or(1, |last| last.as_u64() + 1)),
            _ => FencingToken::from_u64(self.backend.last_token.fetch_add(1, Ordering::SeqCst) + 1),
        }
    }

    fn is_alive(&self, row: &Row, now: Moment) -> bool {
        let forgotten_at = row.phase.forgotten_at(self.flaw);
        match (&row.phase, self.flaw) {
            (_, Flaw::NothingExpires) => true,
            (Phase::Completed { .. }, Flaw::ReplaysTheExpired) => true,
            (Phase::Released { .. }, Flaw::NeverForgetsTheReleased) => true,
            (Phase::Released { .. }, Flaw::ForgetsTheReleasedAtOnce) => false,
            (Phase::Freed { .. }, Flaw::NeverForgetsTheFreed) => true,
            (Phase::Freed { .. }, Flaw::ForgetsTheFreedAtOnce) => false,
            _ => now < forgotten_at && now < row.expires,
        }
    }

    fn find(&self, rows: &HashMap<[u8; 32], Row>, key: &[u8; 32], now: Moment) -> Option<Row> {
        rows.get(key).filter(|row| self.is_alive(row, now)).cloned()
    }

    fn read(&self, key: &[u8; 32]) -> Option<Row> {
        self.find(&self.backend.rows(), key, self.now())
    }

    /// Garbage is an error, whatever it is about.
    fn readable(&self, row: Option<Row>) -> Result<Option<Row>, StoreError> {
        match row.as_ref().and_then(|row| row.garbage) {
            None => Ok(row),
            Some(_) if self.is(Flaw::TakesGarbageForNothing) => Ok(None),
            Some(garbage) if self.is(Flaw::PanicsOfGarbage) => panic!("garbage: {garbage:?}"),
            Some(Garbage::Metadata) if self.is(Flaw::ReplaysGarbage) => Ok(row),
            Some(garbage) => Err(StoreError::corrupt(format!("{garbage:?}"))),
        }
    }

    fn owned(&self, call: Call, lease: &Lease) -> Result<([u8; 32], Row), StoreError> {
        let (key, now) = (self.key(&lease.key), self.now());
        let row = match self.flaw {
            Flaw::OwnersOutlastTheRetention => self.backend.rows().get(&key).cloned(),
            _ => self.read(&key),
        };
        let row = self.readable(row)?;
        if self.is(Flaw::NoOwner(call)) {
            let row = row.unwrap_or_else(|| Row {
                fingerprint: Fingerprint::of(&"the request"),
                id: lease.id,
                token: lease.token,
                first_token: lease.first_token,
                attempt: lease.attempt,
                operation: OperationName::default(),
                ttl: Duration::ZERO,
                steps: Steps::new(),
                phase: Phase::Leased {
                    until: NEVER,
                    retention: Retention::UntilResolved,
                    given_up: false,
                },
                garbage: None,
                expires: NEVER,
            });
            return Ok((key, row));
        }
        let row = row.ok_or(StoreError::LeaseLost)?;
        let held = match &row.phase {
            Phase::Leased { until, .. } if now >= *until => {
                !self.is(Flaw::LosesTheLapsed) && !self.is(Flaw::LosesTheLapsedOn(call))
            }
            Phase::Leased { .. } => true,
            Phase::Released { .. } => self.is(Flaw::ReleasedLeasesGoOn),
            Phase::Freed { .. } => self.is(Flaw::FreedLeasesGoOn),
            Phase::Completed { .. } => self.is(Flaw::CompletesTwice) && call == Call::Complete,
        };
        let id = self.same_id(row.id, lease.id) || self.is(Flaw::NoLeaseId(call));
        let token = row.token == lease.token || self.is(Flaw::NoToken(call));
        if held && id && token { Ok((key, row)) } else { Err(StoreError::LeaseLost) }
    }

    /// Makes a call one atomic step, unless that is what is broken.
    async fn whole(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.flaw.is_a_race() { None } else { Some(self.backend.whole.lock().await) }
    }

    fn put(&self, key: [u8; 32], row: Row) {
        self.backend.rows().insert(key, row);
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.is(Flaw::DroppedHandlesTakeTheirKeys) {
            let mut rows = self.backend.rows();
            for key in self.granted.lock().unwrap().drain(..) {
                rows.remove(&key);
            }
        }
    }
}
