//! One guarded function that does what a test says, and processes that call it.

use std::{
    future::{Future, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use idempotent_runtime::{
    Error, Idempotency, IdempotencyBuilder, KeyState, MemoryStore, StepError, Store, ValueAttempt,
    idempotent_fn,
};
use idempotent_tests::{Faulty, Gate};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::timeout};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// The operation of [`Consumer::ship`].
pub(crate) const SHIP: &str = "ship";
/// No scope.
pub(crate) const NOBODY: Option<&str> = None;

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) amount: u64,
}

pub(crate) fn event(id: &str) -> Event {
    Event { id: id.to_owned(), amount: 1 }
}

/// A value that no other execution has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shipment {
    /// The first execution of all is 1.
    pub(crate) nth: usize,
    pub(crate) attempt: u32,
}

pub(crate) fn shipment(nth: usize, attempt: u32) -> Shipment {
    Shipment { nth, attempt }
}

#[derive(Debug)]
pub(crate) enum ShipError {
    /// The function's own failure.
    NoCarrier(usize),
    /// Of the guard.
    Guard(Error),
}

impl From<Error> for ShipError {
    fn from(error: Error) -> Self {
        Self::Guard(error)
    }
}

impl From<StepError> for ShipError {
    fn from(error: StepError) -> Self {
        panic!("{error}")
    }
}

impl ShipError {
    #[track_caller]
    pub(crate) fn guard(self) -> Error {
        match self {
            Self::Guard(error) => error,
            Self::NoCarrier(nth) => panic!("execution {nth} failed by itself"),
        }
    }
}

pub(crate) type Shipped = Result<Shipment, ShipError>;
type Script = dyn Fn(Run) -> Pin<Box<dyn Future<Output = Shipped> + Send>> + Send + Sync;

/// One execution.
pub(crate) struct Run {
    pub(crate) nth: usize,
    pub(crate) attempt: ValueAttempt<Shipment>,
}

impl Run {
    #[allow(clippy::unnecessary_wraps)] // what a script answers
    pub(crate) fn shipped(&self) -> Shipped {
        Ok(shipment(self.nth, self.attempt.number()))
    }
}

/// What the function does, and how often it did it. Clones are one.
#[derive(Clone)]
pub(crate) struct Work {
    script: Arc<Script>,
    runs: Arc<AtomicUsize>,
}

impl Work {
    pub(crate) fn new<F, W>(script: F) -> Self
    where
        F: Fn(Run) -> W + Send + Sync + 'static,
        W: Future<Output = Shipped> + Send + 'static,
    {
        Self { script: Arc::new(move |run| Box::pin(script(run))), runs: Arc::default() }
    }

    /// Ships at once.
    pub(crate) fn ships() -> Self {
        Self::new(|run| async move { run.shipped() })
    }

    /// Ships when the gate is opened for it.
    pub(crate) fn gated(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                run.shipped()
            }
        })
    }

    /// Fails in its first execution when the gate is opened for it, and ships at once in all others.
    pub(crate) fn fails_once(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                match run.nth {
                    1 => {
                        gate.pass().await;
                        Err(ShipError::NoCarrier(run.nth))
                    }
                    _ => run.shipped(),
                }
            }
        })
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

/// One process.
#[derive(Clone)]
pub(crate) struct Consumer {
    pub(crate) runtime: Idempotency,
    work: Work,
}

impl Consumer {
    pub(crate) fn new(store: impl Store, work: &Work) -> Self {
        Self::with(settings(store), work)
    }

    pub(crate) fn with<S: Store>(settings: IdempotencyBuilder<S>, work: &Work) -> Self {
        Self { runtime: settings.build().unwrap(), work: work.clone() }
    }

    #[idempotent_fn(
        key = event.id,
        fingerprint = event.amount,
        operation = "ship",
        runtime = self.runtime,
        attempt = attempt,
    )]
    pub(crate) async fn ship(&self, event: &Event) -> Shipped {
        let nth = self.work.runs.fetch_add(1, Ordering::SeqCst) + 1;
        (self.work.script)(Run { nth, attempt }).await
    }

    /// Ships and waits for the outcome.
    pub(crate) async fn call(&self, id: &str) -> Shipped {
        in_time(self.ship(&event(id))).await
    }

    /// Begins to ship. It has been polled, so it has joined a running call where there is one, or begun
    /// its own claim, or ended where nothing had to wait.
    pub(crate) async fn begin(&self, id: &str) -> Call {
        let (consumer, event) = (self.clone(), event(id));
        let mut call = Box::pin(async move { consumer.ship(&event).await });
        let at_once = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        Call(match at_once {
            Poll::Ready(outcome) => tokio::spawn(ready(outcome)),
            Poll::Pending => tokio::spawn(call),
        })
    }

    pub(crate) async fn state(&self, id: &str) -> KeyState {
        self.runtime.inspect(&NOBODY, SHIP, id).await.unwrap()
    }
}

/// A call that goes on.
pub(crate) struct Call(JoinHandle<Shipped>);

impl Call {
    pub(crate) async fn outcome(self) -> Shipped {
        in_time(self.0).await.unwrap()
    }

    /// Waits for the panic that the call ends with.
    pub(crate) async fn panic(self) {
        assert!(in_time(self.0).await.unwrap_err().is_panic());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Its future is dropped.
    pub(crate) async fn give_up(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn settings<S: Store>(store: S) -> IdempotencyBuilder<S> {
    Idempotency::builder(store).lease(LEASE).wait(WAIT)
}

/// A memory store that fails on command, and is never found in this process's memory.
pub(crate) fn faulty() -> Faulty {
    Faulty::new(MemoryStore::new())
}

/// A second view of the same store: another process's connection.
pub(crate) fn other(store: &Faulty) -> Faulty {
    Faulty::new(store.inner().clone())
}

/// Fails a test that waits for what never comes: paused time would run on for ever.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_hours(48), future).await.expect("not within two days")
}

/// Resolves when every other task waits for something.
pub(crate) async fn all_wait() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
