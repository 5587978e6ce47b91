//! What a check works with: a store, requests, and time.

use std::{
    fmt::Debug,
    future::Future,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, FencingToken, Fingerprint, KeyState, Lease, LeaseId, Metadata,
    OperationName, Record, Retention, StorageKey, Store, StoreError,
};
use tokio::time::Instant;

use crate::{
    harness::{Capabilities, Clock, Garbage, Harness},
    verdict::{Described, Stop, Verdict},
};

/// Longer than any check runs.
pub(crate) const LONG: Duration = Duration::from_hours(1);
/// Where something has to run out, in the first round.
const SHORT: Duration = Duration::from_millis(200);

pub(crate) struct World<H: Harness> {
    harness: H,
    pub(crate) store: Arc<H::Store>,
    pub(crate) capabilities: Capabilities,
    short: Duration,
    /// What has passed of a clock that stands still by itself.
    passed: Mutex<Duration>,
}

impl<H: Harness> World<H> {
    pub(crate) async fn new(harness: H) -> Self {
        let store = Arc::new(harness.store().await);
        let capabilities = harness.capabilities();
        Self { harness, store, capabilities, short: SHORT, passed: Mutex::default() }
    }

    pub(crate) fn slow_down(&mut self) {
        self.short *= 2;
    }

    /// How long something lasts that has to run out in a check.
    pub(crate) fn short(&self) -> Duration {
        self.short
    }

    /// Another handle on the same backend.
    pub(crate) async fn handle(&self) -> Arc<H::Store> {
        Arc::new(self.harness.store().await)
    }

    pub(crate) async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        self.harness.corrupt(key, garbage).await
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, by: Duration) {
        *self.passed() += by;
        self.harness.advance(by).await;
    }

    /// Lets a deadline of `span` pass that began before now.
    pub(crate) async fn outlast(&self, span: Duration) {
        self.pass(span + self.capabilities.precision).await;
    }

    /// Begins to watch a deadline of `span`; before the call that sets it.
    pub(crate) fn watch(&self, span: Duration) -> Watch<'_, H> {
        Watch { world: self, span, began: self.now() }
    }

    fn passed(&self) -> MutexGuard<'_, Duration> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        match H::CLOCK {
            Clock::Real => Moment::Real(Instant::now()),
            Clock::Paused | Clock::Manual => Moment::Still(*self.passed()),
        }
    }

    /// Expects a lease.
    #[track_caller]
    pub(crate) fn granted(&self, ask: Ask) -> impl Future<Output = Verdict<Lease>> + Send {
        self.answered(ask, "a lease", |answer| match answer {
            Acquired::Granted(lease) => Some(lease.clone()),
            _ => None,
        })
    }

    /// Expects to hear of another's lease, and how much of it is left.
    #[track_caller]
    pub(crate) fn in_flight(&self, ask: Ask) -> impl Future<Output = Verdict<Duration>> + Send {
        self.answered(ask, "InFlight", |answer| match answer {
            Acquired::InFlight { lease_expires_in } => Some(*lease_expires_in),
            _ => None,
        })
    }

    /// Expects a record, and for how long it stays.
    #[track_caller]
    pub(crate) fn replayed(
        &self,
        ask: Ask,
    ) -> impl Future<Output = Verdict<(Record, Duration)>> + Send {
        self.answered(ask, "a record", |answer| match answer {
            Acquired::Completed { record, expires_in } => Some((record.clone(), *expires_in)),
            _ => None,
        })
    }

    /// Expects that the key belongs to another request.
    #[track_caller]
    pub(crate) fn mismatched(&self, ask: Ask) -> impl Future<Output = Verdict> + Send {
        self.answered(ask, "FingerprintMismatch", |answer| {
            matches!(answer, Acquired::FingerprintMismatch).then_some(())
        })
    }

    /// Expects to hear of an abandoned lease, and which attempt it was.
    #[track_caller]
    pub(crate) fn abandoned(&self, ask: Ask) -> impl Future<Output = Verdict<u32>> + Send {
        self.answered(ask, "Abandoned", |answer| match answer {
            Acquired::Abandoned { attempt } => Some(*attempt),
            _ => None,
        })
    }

    #[track_caller]
    fn answered<T>(
        &self,
        ask: Ask,
        expected: &'static str,
        read: impl Fn(&Acquired) -> Option<T> + Send,
    ) -> impl Future<Output = Verdict<T>> + Send {
        let (store, place) = (Arc::clone(&self.store), Location::caller());
        async move {
            match ask.of(&*store).await {
                Ok(answer) => read(&answer).ok_or_else(|| {
                    Stop::at(place, format_args!("expected {expected}, the answer was {answer:?}"))
                }),
                Err(error) => Err(Stop::at(
                    place,
                    format_args!("expected {expected}, but {}", Described(&error)),
                )),
            }
        }
    }

    /// A lease that ran out by itself, as of a process that was killed.
    #[track_caller]
    pub(crate) fn lapsed(&self, ask: Ask) -> impl Future<Output = Verdict<Lease>> + Send {
        let lease = self.granted(ask.lease_for(self.short));
        async move {
            let lease = lease.await?;
            self.outlast(self.short).await;
            Ok(lease)
        }
    }

    /// A key that has been completed with this body.
    #[track_caller]
    pub(crate) fn completed(
        &self,
        ask: Ask,
        body: &'static [u8],
    ) -> impl Future<Output = Verdict<Lease>> + Send {
        let lease = self.granted(ask);
        async move {
            let lease = lease.await?;
            self.store.complete(&lease, ask.record(body), LONG).await?;
            Ok(lease)
        }
    }

    /// What there is to see of a key, without what changes with time.
    pub(crate) async fn seen(&self, key: &StorageKey) -> Verdict<Seen> {
        Ok(Seen::new(self.store.inspect(key).await?, H::CLOCK != Clock::Real))
    }

    /// Expects of a call that it finds the lease lost and leaves the key as it is.
    #[track_caller]
    pub(crate) fn lost<T: Debug + Send>(
        &self,
        key: StorageKey,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Verdict> + Send {
        let place = Location::caller();
        async move {
            let before = self.seen(&key).await?;
            match call.await {
                Err(StoreError::LeaseLost) => {}
                other => {
                    let what = format_args!("expected LeaseLost, the answer was {other:?}");
                    return Err(Stop::at(place, what));
                }
            }
            let after = self.seen(&key).await?;
            if before == after {
                return Ok(());
            }
            let what = format_args!("a refused call changed the key from {before:?} to {after:?}");
            Err(Stop::at(place, what))
        }
    }
}

/// A deadline as the suite sees it. The store's begins a little later, with the call that sets it.
pub(crate) struct Watch<'a, H: Harness> {
    world: &'a World<H>,
    span: Duration,
    began: Moment,
}

impl<H: Harness> Watch<'_, H> {
    /// Goes to where the deadline has certainly not come: its last instant where time stands still,
    /// half-way where it runs.
    pub(crate) async fn nearly(&self) {
        let until = match self.began {
            Moment::Real(_) => self.span / 2,
            Moment::Still(_) => {
                let precision = self.world.capabilities.precision.max(Duration::from_nanos(1));
                self.span.saturating_sub(precision)
            }
        };
        let rest = until.saturating_sub(self.elapsed());
        if !rest.is_zero() {
            self.world.pass(rest).await;
        }
    }

    /// Whether what was just seen was seen before the deadline; else the check is repeated.
    pub(crate) fn still(&self) -> Verdict {
        if self.elapsed() + self.world.capabilities.precision < self.span
            || matches!(self.began, Moment::Still(_))
        {
            return Ok(());
        }
        Err(Stop::TooSlow)
    }

    /// Goes to where the deadline has certainly come.
    pub(crate) async fn over(&self) {
        match self.began {
            Moment::Real(_) => self.world.outlast(self.span).await,
            Moment::Still(_) => {
                let end = self.span + self.world.capabilities.precision;
                self.world.pass(end.saturating_sub(self.elapsed())).await;
            }
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        match (self.began, self.world.now()) {
            (Moment::Real(began), Moment::Real(now)) => now.duration_since(began),
            (Moment::Still(began), Moment::Still(now)) => now.saturating_sub(began),
            _ => Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy)]
enum Moment {
    Real(Instant),
    Still(Duration),
}

/// One sender's `acquire`, repeatable.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) key: StorageKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: LeaseId,
    lease_for: Duration,
    retention: Retention,
    takeover: bool,
    pub(crate) operation: &'static str,
    pub(crate) ttl: Duration,
}

/// A request with a key that nobody else has.
pub(crate) fn ask() -> Ask {
    ask_for(StorageKey::from_bytes(rand::random()))
}

pub(crate) fn ask_for(key: StorageKey) -> Ask {
    Ask {
        key,
        fingerprint: Fingerprint::of(&"the request"),
        id: LeaseId::random(),
        lease_for: LONG,
        retention: Retention::For(LONG),
        takeover: true,
        operation: "POST /payments/{id}",
        ttl: LONG * 3,
    }
}

impl Ask {
    /// The same request, sent again.
    pub(crate) fn again(self) -> Self {
        Self { id: LeaseId::random(), ..self }
    }

    /// Another request with the same key.
    pub(crate) fn other_request(self) -> Self {
        let other = self.of_operation("another operation", LONG * 5);
        Self { fingerprint: Fingerprint::of(&"another request"), ..other }
    }

    /// With what the store keeps for people.
    pub(crate) fn of_operation(self, operation: &'static str, ttl: Duration) -> Self {
        Self { operation, ttl, ..self }
    }

    pub(crate) fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint, ..self }
    }

    pub(crate) fn with_key(self, key: StorageKey) -> Self {
        Self { key, ..self }
    }

    pub(crate) fn with_id(self, id: LeaseId) -> Self {
        Self { id, ..self }
    }

    pub(crate) fn lease_for(self, lease_for: Duration) -> Self {
        Self { lease_for, ..self }
    }

    pub(crate) fn remembered_for(self, retention: Duration) -> Self {
        Self { retention: Retention::For(retention), ..self }
    }

    pub(crate) fn until_resolved(self) -> Self {
        Self { retention: Retention::UntilResolved, ..self }
    }

    pub(crate) fn without_takeover(self) -> Self {
        Self { takeover: false, ..self }
    }

    pub(crate) async fn of(&self, store: &impl Store) -> Result<Acquired, StoreError> {
        let operation = OperationName::from_static(self.operation);
        let request = AcquireRequest::new(&self.key, &self.fingerprint, self.id, self.lease_for)
            .retention(self.retention)
            .takeover(self.takeover)
            .operation(&operation, self.ttl);
        store.acquire(request).await
    }

    /// An outcome of this request.
    pub(crate) fn record(&self, body: impl AsRef<[u8]>) -> Record {
        let body = Bytes::copy_from_slice(body.as_ref());
        Record::new(self.fingerprint, Metadata::Value, body)
    }
}

/// A [`KeyState`] that can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) state: &'static str,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) attempt: Option<u32>,
    pub(crate) token: Option<FencingToken>,
    pub(crate) operation: Option<OperationName>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) record: Option<Record>,
    /// Where time stands still.
    expires_in: Option<Duration>,
}

impl Seen {
    pub(crate) fn new(state: KeyState, still: bool) -> Self {
        let none = Self {
            state: "absent",
            fingerprint: state.fingerprint().copied(),
            attempt: None,
            token: None,
            operation: None,
            ttl: None,
            record: None,
            expires_in: None,
        };
        let (name, attempt, token, operation, ttl, expires_in) = match state {
            KeyState::Absent => return none,
            KeyState::Leased { attempt, token, operation, ttl, expires_in, .. } => {
                ("leased", attempt, token, operation, ttl, Some(expires_in))
            }
            KeyState::Released { attempt, token, operation, ttl, .. } => {
                ("released", attempt, token, operation, ttl, None)
            }
            KeyState::Abandoned { attempt, token, operation, ttl, .. } => {
                ("abandoned", attempt, token, operation, ttl, None)
            }
            KeyState::Completed { record, expires_in } => {
                let expires_in = Some(expires_in).filter(|_| still);
                return Self { state: "completed", record: Some(record), expires_in, ..none };
            }
            _ => return Self { state: "unknown to the suite", ..none },
        };
        Self {
            state: name,
            attempt: Some(attempt),
            token: Some(token),
            operation: Some(operation),
            ttl: Some(ttl),
            expires_in: expires_in.filter(|_| still),
            ..none
        }
    }
}
