//! The protocol. `ARCHITECTURE.md` has it as a table; read the rows against this file and its parts:
//! [`claim`] asks the store, [`execute`] runs the handler, [`settle`] makes its outcome true.

mod claim;
mod execute;
mod held;
mod settle;
mod truth;

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::{
    attempt::AttemptSlot,
    fingerprint::Fingerprint,
    flight::{Flights, Joined, Landing, Leading, Waiter},
    heartbeat::Heartbeat,
    key::StorageKey,
    operation::Operation,
    record::Record,
    refusal::Refusal,
    settings::{Policy, Settings},
    store::{ErasedStore, Store, StoreError},
};

/// Asks the store, lets one of many duplicates run, and answers all of them.
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    store: Arc<dyn ErasedStore>,
    flights: Arc<Flights>,
    heartbeat: Heartbeat,
    tasks: TaskTracker,
    draining: AtomicBool,
    running: Arc<AtomicUsize>,
}

/// One guarded request. Frozen before the handler's body runs.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) key: StorageKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) policy: Policy,
    pub(crate) attempt: AttemptSlot,
}

/// What the handler's answer is worth.
pub(crate) enum Verdict<A> {
    /// Record it, then answer. A tombstone is recorded before its answer passes.
    Final { record: Record, answer: A },
    /// Release, then answer. Waiters share `shared`.
    Transient { shared: Option<Record>, answer: A, no_effect: bool },
}

/// What a request is answered with.
pub(crate) enum Answer<A> {
    /// The answer of its own execution.
    Own(A),
    /// A record, never a tombstone.
    Replay(Record),
    /// The answer of another request's execution, which is not recorded.
    Shared(Record),
    Refused(Refusal),
}

/// How the task that leads a flight ended.
enum Ended<A> {
    Answer(Answer<A>),
    Panicked(Box<dyn Any + Send>),
}

impl<A> From<Refusal> for Answer<A> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<A> Answer<A> {
    fn replay(record: Record) -> Self {
        match record.is_tombstone() {
            true => Self::Refused(Refusal::NotReplayable),
            false => Self::Replay(record),
        }
    }

    /// The answer to a request that waited; `None` when it has to ask the store itself.
    fn landed(landing: Landing) -> Option<Self> {
        Some(match landing {
            Landing::Record(record) => Self::replay(record),
            Landing::Transient(Some(record)) => Self::Shared(record),
            Landing::Transient(None) => Self::Refused(Refusal::InProgress),
            Landing::Refused(refusal) => Self::Refused(refusal),
            Landing::Vanished => return None,
        })
    }
}

impl Engine {
    pub(crate) fn new(store: impl Store, settings: Settings) -> Self {
        let store: Arc<dyn ErasedStore> = Arc::new(store);
        Self {
            flights: Flights::new(settings.max_waiters, settings.max_waiters_per_key),
            heartbeat: Heartbeat::new(Arc::clone(&store), settings.store_timeout),
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            running: Arc::default(),
            store,
            settings,
        }
    }

    pub(crate) fn store(&self) -> &dyn ErasedStore {
        &*self.store
    }

    /// Answers one request; `work` runs in a task of its own, if it runs.
    pub(crate) async fn answer<A, W>(self: &Arc<Self>, call: Call, work: W) -> Answer<A>
    where
        A: Send + 'static,
        W: Future<Output = Verdict<A>> + Send + 'static,
    {
        match self.wait_or_lead(&call).await {
            Err(answer) => answer,
            Ok(leading) => {
                let _requester = Requester(Arc::clone(leading.flight()));
                let task = Arc::clone(self).lead(call, leading, work).in_current_span();
                match self.tasks.spawn(task).await {
                    Ok(ended) => ended.answer(),
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        Err(_cancelled) => Refusal::Draining.into(),
                    },
                }
            }
        }
    }

    /// Like [`answer`](Self::answer), with `work` in the caller's own task. Dropped before it
    /// began, the lease is released; dropped later, it is left to lapse.
    pub(crate) async fn answer_inline<A, W>(self: &Arc<Self>, call: Call, work: W) -> Answer<A>
    where
        W: Future<Output = Verdict<A>>,
    {
        match self.wait_or_lead(&call).await {
            Err(answer) => answer,
            Ok(leading) => {
                let _requester = Requester(Arc::clone(leading.flight()));
                let _running = self.tasks.token();
                let (engine, claimed) = (Arc::clone(self), call.clone());
                let claim = async move { engine.claim(&claimed, leading).await };
                match self.tasks.spawn(claim.in_current_span()).await {
                    Ok(Ok(claimed)) => self.execute(&call, claimed, work).await.answer(),
                    Ok(Err(refused)) => refused.answer(),
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        Err(_cancelled) => Refusal::Draining.into(),
                    },
                }
            }
        }
    }

    async fn lead<A, W>(self: Arc<Self>, call: Call, leading: Leading, work: W) -> Ended<A>
    where
        W: Future<Output = Verdict<A>>,
    {
        match self.claim(&call, leading).await {
            Ok(claimed) => self.execute(&call, claimed, work).await,
            Err(refused) => Ended::Answer(refused.answer()),
        }
    }

    /// Rows "look-up" of the protocol that need no claim: a record in memory, a flight to share.
    async fn wait_or_lead<A>(&self, call: &Call) -> Result<Leading, Answer<A>> {
        if let Some(record) = self.store.recall(&call.key) {
            return Err(match *record.fingerprint() == call.fingerprint {
                true => Answer::replay(record),
                false => Refusal::KeyReused.into(),
            });
        }
        let mut deadline = None;
        loop {
            match self.flights.join((call.key, call.fingerprint)) {
                Joined::Leader(leading) => return Ok(leading),
                Joined::NoRoom => return Err(Refusal::InProgress.into()),
                Joined::Waiter(waiter) => {
                    let deadline =
                        *deadline.get_or_insert_with(|| far(Instant::now(), call.policy.wait));
                    self.wait(waiter, deadline).await?;
                }
            }
        }
    }

    /// Waits for a flight; `Ok` when it vanished and the store has to be asked.
    async fn wait<A>(&self, waiter: Waiter, deadline: Instant) -> Result<(), Answer<A>> {
        match waiter.outcome(deadline).await.map(Answer::landed) {
            None => Err(Refusal::InProgress.into()),
            Some(Some(answer)) => Err(answer),
            Some(None) => Ok(()),
        }
    }

    /// Bounds one call of the store. No answer in time means *unknown*, never *no*.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        timeout(self.settings.store_timeout, call).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// Lets no new operation begin, and waits for the running ones and for what is still being
    /// recorded. Answers how many were left at the deadline.
    pub(crate) async fn drain(&self, within: Duration) -> usize {
        self.draining.store(true, Ordering::Release);
        self.tasks.close();
        match timeout(within, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

impl<A> Ended<A> {
    /// The panic of a handler goes on to its caller, as without us.
    fn answer(self) -> Answer<A> {
        match self {
            Self::Answer(answer) => answer,
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}

/// The request that began a flight. It may go away before the flight lands.
struct Requester(Arc<crate::flight::Flight>);

impl Drop for Requester {
    fn drop(&mut self) {
        self.0.desert();
    }
}

/// `at + by`, or about a century later where that overflows.
fn far(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or_else(|| at + Duration::from_hours(24 * 36_500))
}

/// Pauses between two looks at a key that another process holds: from 5 ms, doubling, to 40 ms, each
/// shortened by up to a half at random, so that many processes do not ask in step.
struct Backoff(Duration);

impl Backoff {
    const fn new() -> Self {
        Self(Duration::from_millis(5))
    }

    fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(Duration::from_millis(40));
        pause
    }
}
