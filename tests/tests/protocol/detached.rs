//! Row "execute": a client that hangs up cancels nothing.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
};

use axum::{Router, extract::State};
use http::StatusCode;
use idempotent_runtime::{Attempt, Idempotency, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, Fault, Faulty, Gate, Request, Step, post};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use crate::kit::{
    Effects, Gated, all_wait, every_path, give_up_after, hang_up, memory, pay, pay_gated, payments,
    poll_once, spawn,
};

fn ask() -> Request {
    post("/payments").key("k")
}

fn client(app: &Router) -> JoinHandle<Answer> {
    spawn(app, ask())
}

async fn state_of(runtime: &Idempotency) -> KeyState {
    runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap()
}

/// CASES 13: the handler goes on, its outcome is recorded, the retry gets it.
#[tokio::test(start_paused = true)]
async fn a_handler_whose_client_hangs_up_runs_to_its_end_and_is_recorded() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let gone = client(&app);
        gated.gate.reached().await;
        hang_up(gone).await;
        assert!(matches!(state_of(&runtime).await, KeyState::Leased { .. }), "{path}");
        gated.gate.open();
        all_wait().await;
        assert!(matches!(state_of(&runtime).await, KeyState::Completed { .. }), "{path}");
        let retry = ask().send(&app).await;
        assert!(retry.is_replayed() && retry.text() == "payment 1", "{path}");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 13: a retry that comes while the handler of the lost request still runs waits for it.
#[tokio::test(start_paused = true)]
async fn a_retry_joins_the_handler_of_the_request_that_was_given_up() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let gone = client(&app);
        gated.gate.reached().await;
        hang_up(gone).await;
        let retry = client(&app);
        all_wait().await;
        gated.gate.open();
        assert_eq!(retry.await.unwrap().text(), "payment 1", "{path}");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// Hangs up on itself.
#[derive(Clone, Default)]
struct Caller {
    effects: Effects,
    handle: Arc<OnceLock<AbortHandle>>,
}

/// CASES 13: the client is gone before the handler first waits, or without it waiting at all.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_before_the_handler_first_waits_cancels_nothing() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn never_waits(State(caller): State<Caller>) -> String {
        caller.handle.get().unwrap().abort();
        caller.effects.happen().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn waits_later(State(caller): State<Caller>) -> String {
        caller.handle.get().unwrap().abort();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        caller.effects.happen().to_string()
    }
    for (path, runtime) in every_path() {
        let caller = Caller::default();
        gone_at_once(&payments(&runtime, caller.clone(), never_waits), &caller, path).await;
    }
    for (path, runtime) in every_path() {
        let caller = Caller::default();
        gone_at_once(&payments(&runtime, caller.clone(), waits_later), &caller, path).await;
    }
}

async fn gone_at_once(app: &Router, caller: &Caller, path: &str) {
    let gone = client(app);
    caller.handle.set(gone.abort_handle()).unwrap();
    match gone.await {
        Err(error) => assert!(error.is_cancelled(), "{path}"),
        // Without debug assertions a handler that never waits ends before it can be cancelled.
        Ok(answer) => assert!(!cfg!(debug_assertions) && answer.text() == "1", "{path}"),
    }
    let retry = ask().send(app).await;
    assert!(retry.is_replayed() && retry.text() == "1", "{path}: {retry:?}");
    assert_eq!(caller.effects.count(), 1);
}

fn over(store: &Faulty) -> (Router, Idempotency, Effects) {
    let (runtime, effects) = (Idempotency::new(store.clone()), Effects::default());
    (payments(&runtime, effects.clone(), pay), runtime, effects)
}

/// CASES 13: who hangs up before the handler began has had no effect, and leaves no lease behind.
#[tokio::test(start_paused = true)]
async fn a_lease_granted_to_a_client_that_is_gone_is_released_at_once() {
    let store = Faulty::new(MemoryStore::new());
    let (app, runtime, effects) = over(&store);
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    hang_up(gone).await;
    gate.open();
    all_wait().await;
    assert!(matches!(state_of(&runtime).await, KeyState::Released { attempt: 1, .. }));
    assert_eq!((store.calls(Step::Release), effects.count()), (1, 0));

    let retry = ask().send(&app).await;
    assert_eq!((retry.status.as_u16(), retry.text()), (201, "payment 1"));
    assert!(!retry.is_replayed());
}

/// The same when its future was polled once and dropped, before the claim was even sent.
#[tokio::test(start_paused = true)]
async fn a_request_dropped_before_its_claim_is_sent_leaves_the_key_free() {
    let store = Faulty::new(MemoryStore::new());
    for runtime in [memory(), Idempotency::new(store.clone())] {
        let effects = Effects::default();
        let app = payments(&runtime, effects.clone(), pay);
        {
            let mut request = pin!(ask().send(&app));
            if poll_once(&mut request).await.is_ready() {
                // Without debug assertions nothing here has to wait.
                assert!(!cfg!(debug_assertions) && effects.count() == 1);
                continue;
            }
            assert_eq!(store.calls(Step::Acquire), 0);
        }
        all_wait().await;
        assert!(!matches!(state_of(&runtime).await, KeyState::Leased { .. }));
        assert_eq!(effects.count(), 0, "nobody wants it");
        assert_eq!(ask().send(&app).await.text(), "payment 1");
    }
}

/// A duplicate that waits wants the answer, so the lease is used although its own request is gone.
#[tokio::test(start_paused = true)]
async fn a_lease_granted_after_its_client_left_is_used_for_a_duplicate_that_waits() {
    let store = Faulty::new(MemoryStore::new());
    let (app, _, effects) = over(&store);
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    let duplicate = client(&app);
    all_wait().await;
    hang_up(gone).await;
    gate.open();
    let answer = duplicate.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (201, "payment 1"));
    assert_eq!((store.calls(Step::Acquire), effects.count()), (1, 1));
}

/// CASES 13: the record itself cannot be cancelled either.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_the_outcome_is_recorded_cancels_nothing() {
    let store = Faulty::new(MemoryStore::new());
    let (app, _, effects) = over(&store);
    let gate = Gate::new();
    store.next(Step::Complete, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    hang_up(gone).await;
    gate.open();
    let retry = ask().send(&app).await;
    assert!(retry.is_replayed() && retry.text() == "payment 1");
    assert_eq!((store.calls(Step::Complete), effects.count()), (1, 1));
}

/// CASES 13, 42: nor can the release after a transient outcome.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_its_key_is_released_cancels_nothing() {
    #[idempotent(key = header("Idempotency-Key"), wait = "0s")]
    async fn fails_once(State(effects): State<Effects>, attempt: Attempt) -> (StatusCode, String) {
        let status = match effects.happen() {
            1 => StatusCode::BAD_GATEWAY,
            _ => StatusCode::OK,
        };
        (status, attempt.number().to_string())
    }
    let store = Faulty::new(MemoryStore::new());
    let app = payments(&Idempotency::new(store.clone()), Effects::default(), fails_once);
    let gate = Gate::new();
    store.next(Step::Release, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    hang_up(gone).await;
    ask().send(&app).await.assert_problem(409, "in_progress");
    gate.open();
    all_wait().await;
    let retry = ask().send(&app).await;
    assert_eq!((retry.status.as_u16(), retry.text()), (200, "2"));
}

#[idempotent(key = header("Idempotency-Key"))]
async fn pay_slowly(State(effects): State<Effects>) -> String {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    format!("payment {}", effects.happen())
}

/// CASES 13: whenever the client hangs up, the effect happens once and no lease is left behind.
#[tokio::test(start_paused = true)]
async fn a_client_may_hang_up_at_any_moment() {
    for (path, runtime) in every_path() {
        for polls in 0..16 {
            let effects = Effects::default();
            let app = payments(&runtime, effects.clone(), pay_slowly);
            let ask = || post("/payments").key(&polls.to_string());
            give_up_after(polls, &app, ask()).await;
            all_wait().await;
            let before = Instant::now();
            assert_eq!(ask().send(&app).await.text(), "payment 1", "{path} {polls}");
            assert_eq!((Instant::now(), effects.count()), (before, 1), "{path} {polls}");
        }
    }
}

/// CASES 13, 27: also when eight at a time do, in threads of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_hang_up_in_parallel_never_repeat_an_effect() {
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = payments(&runtime, effects.clone(), pay_slowly);
        let mut clients = Vec::new();
        for key in 0..200_usize {
            for client in 0..8 {
                let (app, polls) = (app.clone(), (key * 7 + client * 5) % 11);
                clients.push(tokio::spawn(async move {
                    give_up_after(polls, &app, post("/payments").key(&key.to_string())).await;
                }));
            }
        }
        for client in clients {
            client.await.unwrap();
        }
        for key in 0..200 {
            let retry = post("/payments").key(&key.to_string()).send(&app).await;
            assert_eq!(retry.status, StatusCode::OK, "{path} {key}: {retry:?}");
        }
        assert_eq!(effects.count(), 200, "{path}");
    }
}
