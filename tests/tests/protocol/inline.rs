//! `spawn = false`: the handler lives in its request, the claim and the record do not.

use std::{cell::Cell, time::Duration};

use axum::{Router, extract::State};
use http::StatusCode;
use idempotent_runtime::{Attempt, Idempotency, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, Fault, Faulty, Gate, Request, Step, post};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance},
};

use crate::kit::{
    Effects, Gated, all_wait, every_path, give_up_after, hang_up, memory, payments, spawn,
};

const INSTANT: Duration = Duration::from_nanos(1);

#[idempotent(key = header("Idempotency-Key"), spawn = false, lease = "5s", wait = "0s")]
async fn pay(State(gated): State<Gated>, attempt: Attempt) -> (StatusCode, String) {
    let (status, paid) = gated.pay().await;
    (status, format!("{paid} by attempt {}", attempt.number()))
}

fn ask() -> Request {
    post("/payments").key("k")
}

fn client(app: &Router) -> JoinHandle<Answer> {
    spawn(app, ask())
}

async fn state_of(runtime: &Idempotency) -> KeyState {
    runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap()
}

#[tokio::test]
async fn an_inline_handler_is_recorded_and_replayed_like_any_other() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay);
        gated.gate.open();
        assert_eq!(ask().send(&app).await.text(), "payment 1 by attempt 1");
        let again = ask().send(&app).await;
        assert!(again.is_replayed() && again.text() == "payment 1 by attempt 1", "{path}");
        ask().body("other").send(&app).await.assert_problem(422, "key_reused");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 8, 12: dropped while it runs, its outcome is unknown: the lease lapses at its own deadline,
/// neither later nor (the effect may have happened) earlier.
#[tokio::test(start_paused = true)]
async fn an_inline_handler_dropped_while_it_runs_is_abandoned_until_its_lease_lapses() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay);
        let began = Instant::now();
        let gone = client(&app);
        gated.gate.reached().await;
        hang_up(gone).await;
        gated.gate.open();
        all_wait().await;
        assert_eq!(gated.effects.count(), 0, "the handler is gone with its request");

        assert!(matches!(state_of(&runtime).await, KeyState::Leased { attempt: 1, .. }), "{path}");
        ask().send(&app).await.assert_problem(409, "in_progress");
        let left = Duration::from_secs(5).checked_sub(began.elapsed()).unwrap();
        advance(left.checked_sub(INSTANT).unwrap()).await;
        ask().send(&app).await.assert_problem(409, "in_progress");
        advance(INSTANT).await;
        assert!(matches!(state_of(&runtime).await, KeyState::Abandoned { attempt: 1, .. }));
        assert_eq!(ask().send(&app).await.text(), "payment 1 by attempt 2", "{path}");
    }
}

/// CASES 13: what the handler finished is recorded, although its request is gone.
#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_inline_handler_that_finished_survives_its_request() {
    let store = Faulty::new(MemoryStore::new());
    let gated = Gated::default();
    let app = payments(&Idempotency::new(store.clone()), gated.clone(), pay);
    gated.gate.open();
    let gate = Gate::new();
    store.next(Step::Complete, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    hang_up(gone).await;
    gate.open();
    all_wait().await;
    let retry = ask().send(&app).await;
    assert!(retry.is_replayed());
    assert_eq!(retry.text(), "payment 1 by attempt 1");
}

/// CASES 13: dropped before it began, it had no effect: the lease goes back at once.
#[tokio::test(start_paused = true)]
async fn an_inline_handler_dropped_during_its_claim_leaves_the_key_free() {
    let store = Faulty::new(MemoryStore::new());
    let (runtime, gated) = (Idempotency::new(store.clone()), Gated::default());
    let app = payments(&runtime, gated.clone(), pay);
    gated.gate.open();
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    hang_up(gone).await;
    gate.open();
    all_wait().await;
    assert!(matches!(state_of(&runtime).await, KeyState::Released { attempt: 1, .. }));
    assert_eq!(ask().send(&app).await.text(), "payment 1 by attempt 2");
}

/// A duplicate that waited for a claim whose request left gets its answer all the same.
#[tokio::test(start_paused = true)]
async fn a_duplicate_of_an_inline_request_dropped_during_its_claim_runs_it() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn pay(State(gated): State<Gated>) -> (StatusCode, String) {
        gated.pay().await
    }
    let store = Faulty::new(MemoryStore::new());
    let gated = Gated::default();
    let app = payments(&Idempotency::new(store.clone()), gated.clone(), pay);
    gated.gate.open();
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let gone = client(&app);
    gate.reached().await;
    let duplicate = client(&app);
    all_wait().await;
    hang_up(gone).await;
    gate.open();
    let began = Instant::now();
    assert_eq!(duplicate.await.unwrap().text(), "payment 1");
    assert!(began.elapsed() < Duration::from_secs(1), "it does not wait for the lease to lapse");
}

tokio::task_local! {
    static TENANT: Cell<u32>;
}

/// What `spawn = false` is for: the handler runs in the task of its request.
#[tokio::test]
async fn task_locals_reach_an_inline_handler_only() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn inline() -> String {
        format!("{:?}", TENANT.try_with(Cell::get).ok())
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn detached() -> String {
        // Without debug assertions it has a task of its own from here on.
        tokio::task::yield_now().await;
        format!("{:?}", TENANT.try_with(Cell::get).ok())
    }
    let inline = payments(&memory(), (), inline);
    let detached = payments(&memory(), (), detached);
    assert_eq!(TENANT.scope(Cell::new(7), ask().send(&inline)).await.text(), "Some(7)");
    assert_eq!(TENANT.scope(Cell::new(7), ask().send(&detached)).await.text(), "None");
}

/// Its outcomes are classified like any other's.
#[tokio::test]
async fn a_transient_outcome_of_an_inline_handler_releases_the_key() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn fails_once(State(effects): State<Effects>, attempt: Attempt) -> (StatusCode, String) {
        let failed = effects.happen() == 1;
        let status = if failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        (status, attempt.number().to_string())
    }
    let app = payments(&memory(), Effects::default(), fails_once);
    assert_eq!(ask().send(&app).await.status, 502);
    let retry = ask().send(&app).await;
    assert_eq!((retry.status.as_u16(), retry.text()), (200, "2"));
}

/// CASES 13: whenever the client hangs up, the effect happens once; at worst the lease has to lapse.
#[tokio::test(start_paused = true)]
async fn a_client_of_an_inline_handler_may_hang_up_at_any_moment() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false, lease = "1s", wait = "2s")]
    async fn pay_slowly(State(effects): State<Effects>) -> String {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        format!("payment {}", effects.happen())
    }
    for (path, runtime) in every_path() {
        for polls in 0..16 {
            let effects = Effects::default();
            let app = payments(&runtime, effects.clone(), pay_slowly);
            let ask = || post("/payments").key(&polls.to_string());
            give_up_after(polls, &app, ask()).await;
            assert_eq!(ask().send(&app).await.text(), "payment 1", "{path} {polls}");
            assert_eq!(effects.count(), 1, "{path} {polls}");
        }
    }
}
