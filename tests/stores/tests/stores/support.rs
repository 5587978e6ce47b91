//! One guarded handler that does what a test says, and processes that serve it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
    routing,
};
use http::{HeaderMap, StatusCode};
use idempotent_runtime::{Attempt, Idempotency, IdempotencyBuilder, KeyState, Store, idempotent};
use idempotent_tests::{Answer, Gate, Request, post};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::backend::Backend;

/// By far longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(40);
/// No scope.
pub(crate) const NOBODY: Option<&str> = None;
/// The operation of [`pay`].
pub(crate) const PAY: &str = "POST /pay";

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
    pub(crate) key: String,
}

impl Run {
    /// An answer that no other execution gives.
    pub(crate) fn paid(&self) -> Response {
        (StatusCode::CREATED, self.receipt()).into_response()
    }

    pub(crate) fn receipt(&self) -> String {
        format!("payment {}, attempt {}", self.nth, self.attempt.number())
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

    /// Waits at the gate in its first execution, and pays at once in all others.
    pub(crate) fn gated_once(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |run| {
            let gate = gate.clone();
            async move {
                if run.nth == 1 {
                    gate.pass().await;
                }
                run.paid()
            }
        })
    }

    /// How often it was executed.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn run(&self, attempt: Attempt, headers: &HeaderMap) -> Response {
        let nth = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        (self.script)(Run { nth, attempt, key }).await
    }
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn pay(
    State(handler): State<Handler>,
    attempt: Attempt,
    headers: HeaderMap,
    _: Bytes,
) -> Response {
    handler.run(attempt, &headers).await
}

/// `POST /pay` with a key.
pub(crate) fn pay_with(key: &str) -> Request {
    post("/pay").key(key)
}

/// One process: a runtime with connections of its own.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) runtime: Idempotency,
    router: Router,
}

impl Process {
    /// With the default settings.
    pub(crate) async fn new<B: Backend>(backend: &B, handler: &Handler) -> Self {
        Self::over(backend.connect().await, handler)
    }

    /// With the default settings.
    pub(crate) fn over<S: Store>(store: S, handler: &Handler) -> Self {
        Self::with(Idempotency::builder(store), handler)
    }

    pub(crate) fn with<S: Store>(settings: IdempotencyBuilder<S>, handler: &Handler) -> Self {
        let runtime = settings.build().unwrap();
        let router = Router::new()
            .route("/pay", routing::post(pay))
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

    /// Sends `POST /pay` from a task of its own.
    pub(crate) fn begin(&self, key: &str) -> Sent {
        let (process, request) = (self.clone(), pay_with(key));
        Sent(tokio::spawn(async move { process.send(request).await }))
    }

    /// The state of a key, as a person sees it.
    pub(crate) async fn state(&self, key: &str) -> KeyState {
        self.runtime.inspect(&NOBODY, PAY, key).await.unwrap()
    }
}

/// Several processes on one place.
pub(crate) async fn processes<B: Backend>(
    count: usize,
    backend: &B,
    handler: &Handler,
) -> Vec<Process> {
    let mut processes = Vec::new();
    for _ in 0..count {
        processes.push(Process::new(backend, handler).await);
    }
    processes
}

/// A request that waits for its answer.
pub(crate) struct Sent(JoinHandle<Answer>);

impl Sent {
    pub(crate) async fn answer(self) -> Answer {
        in_time(self.0).await.unwrap()
    }
}

/// Fails a test that waits for what never comes.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(FOREVER, future).await.expect("in time")
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    in_time(async {
        while !is_so().await {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
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
