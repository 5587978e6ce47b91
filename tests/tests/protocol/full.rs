//! A memory store without room.

use std::time::Duration;

use axum::{Router, extract::State};
use http::StatusCode;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Answer, post};
use tokio::time::advance;

use crate::kit::{
    Effects, Gated, Script, all_wait, hang_up, pay, pay_gated, payments, scripted, spawn,
};

/// A runtime with room for a handful of keys.
fn small() -> (Idempotency, MemoryStore) {
    let store = MemoryStore::builder().budget(16 * 1024).build();
    (Idempotency::new(store.clone()), store)
}

async fn ask(app: &Router, key: &str) -> Answer {
    post("/payments").key(key).send(app).await
}

/// Sends new keys until one is refused; tells how many were taken.
async fn flood(app: &Router) -> usize {
    for number in 0..1000 {
        let answer = ask(app, &format!("flood-{number}")).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.assert_problem(503, "store_full");
            assert_eq!(answer.header("retry-after"), "5");
            assert_eq!(answer.json()["retryable"], true);
            return number;
        }
    }
    panic!("16 KiB took a thousand keys");
}

/// CASES 36: flooding keys does not run somebody's payment again: new ones are refused instead.
#[tokio::test]
async fn a_full_store_refuses_new_operations_and_replays_the_old_ones() {
    let (runtime, store) = small();
    let effects = Effects::default();
    let app = payments(&runtime, effects.clone(), pay);
    let payment = ask(&app, "payment").await;
    let taken = flood(&app).await;
    // Between the room that a lease reserves and what a record without content takes.
    assert!((14..57).contains(&taken), "{taken}");
    assert_eq!(effects.count(), 1 + taken);
    for number in 0..50 {
        ask(&app, &format!("more-{number}")).await.assert_problem(503, "store_full");
    }
    let again = ask(&app, "payment").await;
    assert!(again.is_replayed() && again.body == payment.body);
    for number in 0..taken {
        assert!(ask(&app, &format!("flood-{number}")).await.is_replayed());
    }
    post("/payments")
        .key("payment")
        .body("other")
        .send(&app)
        .await
        .assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1 + taken, "nothing was executed that was refused");
    let usage = store.usage();
    assert!(usage.bytes <= usage.budget && usage.evicted == 0, "{usage:?}");
}

/// CASES 36: a payment that runs has its place: it is recorded though the store filled up meanwhile.
#[tokio::test(start_paused = true)]
async fn a_running_operation_is_recorded_although_the_store_is_full() {
    let (runtime, _) = small();
    let gated = Gated::default();
    let app = payments(&runtime, gated.clone(), pay_gated);
    let running = spawn(&app, post("/payments").key("payment"));
    gated.gate.reached().await;
    let flooding = payments(&runtime, Effects::default(), pay);
    flood(&flooding).await;
    gated.gate.open();
    let first = running.await.unwrap();
    assert_eq!(first.status, StatusCode::CREATED);
    assert!(ask(&app, "payment").await.is_replayed());
    assert_eq!(gated.effects.count(), 1);
}

/// CASES 36: a released key is known, so its retry needs no new place.
#[tokio::test]
async fn a_released_key_may_run_again_although_the_store_is_full() {
    let (runtime, _) = small();
    let script = Script::new(|number| match number {
        1 => StatusCode::BAD_GATEWAY,
        _ => StatusCode::CREATED,
    });
    let app = payments(&runtime, script, scripted);
    assert_eq!(ask(&app, "payment").await.status, 502);
    flood(&payments(&runtime, Effects::default(), pay)).await;
    assert_eq!(ask(&app, "payment").await.status, 201);
    assert!(ask(&app, "payment").await.is_replayed());
}

/// CASES 36: room comes back when records expire, and not before.
#[tokio::test(start_paused = true)]
async fn room_comes_back_when_records_expire() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "60s")]
    async fn brief(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    let (runtime, _) = small();
    let app = payments(&runtime, Effects::default(), brief);
    let taken = flood(&app).await;
    advance(Duration::from_secs(59)).await;
    ask(&app, "new").await.assert_problem(503, "store_full");
    advance(Duration::from_secs(2)).await;
    assert_eq!(ask(&app, "new").await.status, StatusCode::OK);
    assert!(!ask(&app, "flood-0").await.is_replayed());
    assert!(taken >= 4);
}

/// CASES 36: records of nothing and of the cap's exact size are kept like others.
#[tokio::test]
async fn records_of_no_bytes_and_of_the_caps_exact_size_are_kept() {
    let store = MemoryStore::builder().budget(64 * 1024).build();
    let runtime = Idempotency::builder(store).max_response_bytes(4096).build().unwrap();
    let script = Script::new(|number| vec![b'x'; if number % 2 == 0 { 4096 } else { 0 }]);
    let effects = script.effects.clone();
    let app = payments(&runtime, script, scripted);
    for key in ["a", "b", "c", "d"] {
        ask(&app, key).await;
    }
    for (key, size) in [("a", 0), ("b", 4096), ("c", 0), ("d", 4096)] {
        let again = ask(&app, key).await;
        assert!(again.is_replayed() && again.body.len() == size, "{key}");
    }
    assert_eq!(effects.count(), 4);
}

/// CASES 36, 54: clients that hang up leave what they began, not more.
#[tokio::test(start_paused = true)]
async fn hanging_up_during_an_operation_costs_one_place_only() {
    let (runtime, store) = small();
    let gated = Gated::default();
    let app = payments(&runtime, gated.clone(), pay_gated);
    let gone = spawn(&app, post("/payments").key("payment"));
    gated.gate.reached().await;
    for _ in 0..100 {
        let waiting = spawn(&app, post("/payments").key("payment"));
        all_wait().await;
        hang_up(waiting).await;
    }
    hang_up(gone).await;
    assert_eq!(store.usage().leased, 1);
    gated.gate.open();
    all_wait().await;
    assert!(ask(&app, "payment").await.is_replayed());
    assert_eq!(store.usage().completed, 1);
}
