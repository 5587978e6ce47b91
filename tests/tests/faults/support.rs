//! One guarded handler that does what a test says, and processes that serve it.

use std::{
    future::{Future, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post as on_post,
};
use http::{StatusCode, header};
use idempotent_runtime::{
    Attempt, Idempotency, IdempotencyBuilder, KeyState, MemoryStore, Store, idempotent,
};
use idempotent_tests::{Answer, Fault, Faulty, Gate, Request, Step, post};
use tokio::{task::JoinHandle, time::timeout};

/// The lease of every process here that does not say otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long duplicates wait in every process here that does not say otherwise.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// By far more than one look at a key of another process takes (5 to 40 ms), and less than anything
/// that is counted in leases or patience.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// What the guarded handlers do, and how often they did it.
#[derive(Clone)]
pub(crate) struct Handler {
    script: Arc<Script>,
    runs: Arc<AtomicUsize>,
}

type Script = dyn Fn(Run) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync;

/// One execution.
pub(crate) struct Run {
    /// The first execution of all is 1.
    pub(crate) nth: usize,
    pub(crate) attempt: Attempt,
}

impl Run {
    /// An answer that no other execution gives.
    pub(crate) fn paid(&self) -> Response {
        let (nth, attempt) = (self.nth, self.attempt.number());
        (StatusCode::CREATED, format!("payment {nth}, attempt {attempt}")).into_response()
    }
}

/// An answer that means "safe to repeat".
pub(crate) fn failed() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the bank is closed").into_response()
}

impl Handler {
    pub(crate) fn new<F, W>(script: F) -> Self
    where
        F: Fn(Run) -> W + Send + Sync + 'static,
        W: Future<Output = Response> + Send + 'static,
    {
        Self { script: Arc::new(move |run| Box::pin(script(run))), runs: Arc::default() }
    }

    /// Pays at once.
    pub(crate) fn pays() -> Self {
        Self::new(|run| async move { run.paid() })
    }

    /// Pays when the gate is opened for it.
    pub(crate) fn gated(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                run.paid()
            }
        })
    }

    /// Fails in its first execution when the gate is opened for it, and pays at once in all others.
    pub(crate) fn fails_once(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                match run.nth {
                    1 => {
                        gate.pass().await;
                        failed()
                    }
                    _ => run.paid(),
                }
            }
        })
    }

    /// Answers a stream when the gate is opened for it.
    pub(crate) fn streams(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                let event_stream = [(header::CONTENT_TYPE, "text/event-stream")];
                (event_stream, format!("data: {}\n\n", run.nth)).into_response()
            }
        })
    }

    /// How often it was executed.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn run(&self, attempt: Attempt) -> Response {
        let nth = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        (self.script)(Run { nth, attempt }).await
    }
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn pay(State(handler): State<Handler>, attempt: Attempt, _: Bytes) -> Response {
    handler.run(attempt).await
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h", operation = "inline", spawn = false)]
async fn pay_inline(State(handler): State<Handler>, attempt: Attempt, _: Bytes) -> Response {
    handler.run(attempt).await
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h", operation = "scoped", scope = user)]
async fn pay_scoped(
    axum::extract::Path(user): axum::extract::Path<u64>,
    State(handler): State<Handler>,
    attempt: Attempt,
) -> Response {
    handler.run(attempt).await
}

/// The operation of [`pay`].
pub(crate) const PAY: &str = "POST /pay";
/// No scope.
pub(crate) const NOBODY: Option<&str> = None;

/// A memory store that fails on command, and the settings of this file.
pub(crate) fn faulty() -> Faulty {
    Faulty::new(MemoryStore::new())
}

/// A second view of the same store, with faults of its own: another process's connection.
pub(crate) fn other(store: &Faulty) -> Faulty {
    Faulty::new(store.inner().clone())
}

pub(crate) fn settings(store: &Faulty) -> IdempotencyBuilder<Faulty> {
    Idempotency::builder(store.clone()).lease(LEASE).wait(WAIT)
}

/// `POST /pay` with a key.
pub(crate) fn pay_with(key: &str) -> Request {
    post("/pay").key(key)
}

/// One process.
pub(crate) struct Process {
    pub(crate) runtime: Idempotency,
    router: Router,
}

impl Process {
    pub(crate) fn new(store: &Faulty, handler: &Handler) -> Self {
        Self::with(settings(store), handler)
    }

    pub(crate) fn with<S: Store>(settings: IdempotencyBuilder<S>, handler: &Handler) -> Self {
        let runtime = settings.build().unwrap();
        let router = Router::new()
            .route("/pay", on_post(pay))
            .route("/inline", on_post(pay_inline))
            .route("/users/{user}/pay", on_post(pay_scoped))
            .layer(Extension(runtime.clone()))
            .with_state(handler.clone());
        Self { runtime, router }
    }

    /// Sends `POST /pay` and waits for its answer.
    pub(crate) async fn pay(&self, key: &str) -> Answer {
        self.send(pay_with(key)).await
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        in_time(request.send(&self.router)).await
    }

    /// Sends `POST /pay`; see [`begin`](Self::begin).
    pub(crate) async fn begin_pay(&self, key: &str) -> Sent {
        self.begin(pay_with(key)).await
    }

    /// Sends a request. It has been polled, so it has joined a running operation where there is one,
    /// or begun its own claim, or has its answer where nothing had to wait.
    pub(crate) async fn begin(&self, request: Request) -> Sent {
        let router = self.router.clone();
        let mut answer = Box::pin(async move { request.send(&router).await });
        let at_once = poll_fn(|cx| {
            // A handler that does not wait may run in this poll, and panic in it.
            Poll::Ready(catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))))
        });
        Sent(match at_once.await {
            Ok(Poll::Ready(answer)) => tokio::spawn(ready(answer)),
            Ok(Poll::Pending) => tokio::spawn(answer),
            Err(panic) => tokio::spawn(async { resume_unwind(panic) }),
        })
    }

    /// The state of a key of [`pay`], as a person sees it.
    pub(crate) async fn state(&self, key: &str) -> KeyState {
        self.runtime.inspect(&NOBODY, PAY, key).await.unwrap()
    }
}

/// A request that waits for its answer.
pub(crate) struct Sent(JoinHandle<Answer>);

impl Sent {
    pub(crate) async fn answer(self) -> Answer {
        in_time(self.0).await.unwrap()
    }

    /// Waits for the panic that the request ends with.
    pub(crate) async fn panic(self) {
        assert!(in_time(self.0).await.unwrap_err().is_panic());
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.0.is_finished()
    }

    /// The client hangs up.
    pub(crate) async fn hang_up(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

/// Fails a test that waits for what never comes: paused time would run on for ever.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_hours(2), future).await.expect("not within two hours")
}

/// Lets the other tasks run until `done`. Time stands still meanwhile.
pub(crate) async fn until(done: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never came to pass");
}

/// Asserts that `again` is the recorded form of `first`.
#[track_caller]
pub(crate) fn assert_replays(again: &Answer, first: &Answer) {
    assert!(again.is_replayed(), "{again:?}");
    assert_eq!((again.status, &again.body), (first.status, &first.body));
}

/// Asserts that this is the answer of the `nth` execution, as its own client gets it.
#[track_caller]
pub(crate) fn assert_paid(answer: &Answer, nth: usize, attempt: u32) {
    assert!(!answer.is_replayed(), "{answer:?}");
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.text(), format!("payment {nth}, attempt {attempt}"));
}

/// A process that lost its lease while its handler ran, and does not know it yet.
pub(crate) struct Paused {
    /// Its own connection to the store.
    pub(crate) store: Faulty,
    pub(crate) handler: Handler,
    pub(crate) process: Process,
    /// Lets its handler end.
    pub(crate) gate: Gate,
    /// The request that it is executing.
    pub(crate) request: Sent,
}

impl Paused {
    /// Begins to execute `k`, renews nothing, and comes to the instant at which its lease runs out.
    pub(crate) async fn new(store: &Faulty) -> Self {
        Self::with(store, |settings| settings).await
    }

    pub(crate) async fn with(
        store: &Faulty,
        set: impl FnOnce(IdempotencyBuilder<Faulty>) -> IdempotencyBuilder<Faulty>,
    ) -> Self {
        let gate = Gate::new();
        Self::running(store, set, Handler::gated(&gate), gate).await
    }

    pub(crate) async fn running(
        store: &Faulty,
        set: impl FnOnce(IdempotencyBuilder<Faulty>) -> IdempotencyBuilder<Faulty>,
        handler: Handler,
        gate: Gate,
    ) -> Self {
        let store = other(store);
        store.always(Step::Renew, Fault::Unreachable);
        let process = Process::with(set(settings(&store)), &handler);
        let request = process.begin_pay("k").await;
        gate.reached().await;
        tokio::time::sleep(LEASE).await;
        Self { store, handler, process, gate, request }
    }

    /// Its handler ends; the answer that its client gets.
    pub(crate) async fn end(self) -> Answer {
        self.gate.open();
        self.request.answer().await
    }
}
