//! How many may wait, and how many may run.

use std::sync::Arc;

use axum::{Extension, Router, body::Bytes, extract::State, routing::post as on_post};
use http::StatusCode;
use idempotent_runtime::{Idempotency, IdempotencyBuilder, MemoryStore, idempotent};
use idempotent_tests::{Answer, Faulty, post};
use tokio::{task::JoinHandle, time::Instant};

use crate::kit::{Effects, Gated, all_wait, hang_up, pay, pay_gated, payments, spawn};

fn bounded(
    set: impl FnOnce(IdempotencyBuilder<MemoryStore>) -> IdempotencyBuilder<MemoryStore>,
) -> (Router, Gated) {
    let runtime = set(Idempotency::builder(MemoryStore::new())).build().unwrap();
    let gated = Gated::default();
    (payments(&runtime, gated.clone(), pay_gated), gated)
}

fn client(app: &Router, key: &str) -> JoinHandle<Answer> {
    spawn(app, post("/payments").key(key))
}

async fn running(app: &Router, gated: &Gated, key: &str) -> JoinHandle<Answer> {
    let client = client(app, key);
    gated.gate.reached().await;
    client
}

#[track_caller]
fn assert_told_to_wait(answer: &Answer) {
    answer.assert_problem(409, "in_progress");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn waiters_beyond_the_bound_of_the_process_are_refused_at_once() {
    let (app, gated) = bounded(|builder| builder.max_waiters(2));
    let first = [running(&app, &gated, "a").await, running(&app, &gated, "b").await];
    let waiting = [client(&app, "a"), client(&app, "b")];
    all_wait().await;
    let before = Instant::now();
    assert_told_to_wait(&client(&app, "a").await.unwrap());
    assert_told_to_wait(&client(&app, "b").await.unwrap());
    assert_eq!(Instant::now(), before);
    let fresh = running(&app, &gated, "c").await;
    for _ in 0..3 {
        gated.gate.open();
    }
    for client in first.into_iter().chain(waiting).chain([fresh]) {
        assert_eq!(client.await.unwrap().status, StatusCode::CREATED);
    }
    assert_eq!(gated.effects.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn waiters_beyond_the_bound_of_their_key_are_refused_at_once() {
    let (app, gated) = bounded(|builder| builder.max_waiters_per_key(1));
    let first = [running(&app, &gated, "a").await, running(&app, &gated, "b").await];
    let waiting = client(&app, "a");
    all_wait().await;
    assert_told_to_wait(&client(&app, "a").await.unwrap());
    let other = client(&app, "b");
    all_wait().await;
    gated.gate.open();
    gated.gate.open();
    for client in first.into_iter().chain([waiting, other]) {
        assert_eq!(client.await.unwrap().status, StatusCode::CREATED, "each key has its bound");
    }
}

/// A refusal for one bound takes no place of the other.
#[tokio::test(start_paused = true)]
async fn a_refused_waiter_takes_no_place() {
    let (app, gated) = bounded(|builder| builder.max_waiters(2).max_waiters_per_key(1));
    let first = [running(&app, &gated, "a").await, running(&app, &gated, "b").await];
    let one = client(&app, "a");
    all_wait().await;
    for _ in 0..5 {
        assert_told_to_wait(&client(&app, "a").await.unwrap());
    }
    let two = client(&app, "b");
    all_wait().await;
    gated.gate.open();
    gated.gate.open();
    for client in first.into_iter().chain([one, two]) {
        assert_eq!(client.await.unwrap().status, StatusCode::CREATED);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_withdraws_when_its_client_hangs_up() {
    let (app, gated) = bounded(|builder| builder.max_waiters(1).max_waiters_per_key(1));
    let first = running(&app, &gated, "a").await;
    for _ in 0..3 {
        let waiting = client(&app, "a");
        all_wait().await;
        assert_told_to_wait(&client(&app, "a").await.unwrap());
        hang_up(waiting).await;
    }
    let waiting = client(&app, "a");
    all_wait().await;
    gated.gate.open();
    assert_eq!(first.await.unwrap().text(), "payment 1");
    assert!(waiting.await.unwrap().is_replayed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_runs_out_of_patience_gives_its_place_back() {
    let (app, gated) = bounded(|builder| builder.max_waiters(1));
    let first = running(&app, &gated, "a").await;
    for _ in 0..3 {
        let before = Instant::now();
        assert_told_to_wait(&client(&app, "a").await.unwrap());
        assert!(before.elapsed() >= idempotent_runtime::defaults::WAIT, "it did wait");
    }
    gated.gate.open();
    assert_eq!(first.await.unwrap().status, StatusCode::CREATED);
}

/// CASES 54: handlers beyond the bound are not run, and what is known is answered all the same.
#[tokio::test(start_paused = true)]
async fn handlers_beyond_the_bound_are_refused_and_replays_are_not() {
    let (app, gated) = bounded(|builder| builder.max_running(2));
    gated.gate.open();
    assert_eq!(client(&app, "done").await.unwrap().text(), "payment 1");
    gated.gate.reached().await;

    let first = [running(&app, &gated, "a").await, running(&app, &gated, "b").await];
    let refused = client(&app, "c").await.unwrap();
    refused.assert_problem(503, "too_many_running");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(client(&app, "done").await.unwrap().is_replayed());
    let duplicate = client(&app, "a");
    all_wait().await;
    assert!(!duplicate.is_finished(), "a duplicate waits: it does not run");

    gated.gate.open();
    gated.gate.open();
    for client in first.into_iter().chain([duplicate]) {
        assert_eq!(client.await.unwrap().status, StatusCode::CREATED);
    }
    assert_eq!(gated.effects.count(), 3);
    gated.gate.open();
    assert_eq!(client(&app, "c").await.unwrap().text(), "payment 4", "it left nothing behind");
}

/// CASES 54: clients that connect, send and hang up start no more handlers than may run.
#[tokio::test(start_paused = true)]
async fn hanging_up_does_not_make_room_for_another_handler() {
    let (app, gated) = bounded(|builder| builder.max_running(3));
    for number in 0..3 {
        let client = running(&app, &gated, &number.to_string()).await;
        hang_up(client).await;
    }
    for number in 3..50 {
        let refused = client(&app, &number.to_string()).await.unwrap();
        refused.assert_problem(503, "too_many_running");
    }
    for _ in 0..3 {
        gated.gate.open();
    }
    all_wait().await;
    assert_eq!(gated.effects.count(), 3, "those that ran ran to their end");
    gated.gate.open();
    assert_eq!(client(&app, "3").await.unwrap().status, StatusCode::CREATED);
}

/// CASES 54: also where the handler runs in the request's own task, and what panics gives way too.
#[tokio::test(start_paused = true)]
async fn inline_handlers_are_bounded_too_and_dropping_or_panicking_makes_room() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn create(State(gated): State<Gated>) -> (StatusCode, String) {
        let paid = gated.pay().await;
        assert!(gated.effects.count() != 1, "the first panics");
        paid
    }
    let runtime = Idempotency::builder(MemoryStore::new()).max_running(1).build().unwrap();
    let gated = Gated::default();
    let app = payments(&runtime, gated.clone(), create);

    let panicking = running(&app, &gated, "a").await;
    client(&app, "b").await.unwrap().assert_problem(503, "too_many_running");
    gated.gate.open();
    assert!(panicking.await.unwrap_err().is_panic());
    let dropped = running(&app, &gated, "b").await;
    client(&app, "c").await.unwrap().assert_problem(503, "too_many_running");
    hang_up(dropped).await;
    gated.gate.open();
    assert_eq!(client(&app, "c").await.unwrap().text(), "payment 2");
}

/// One operation after another does not use up the places.
#[tokio::test]
async fn places_are_given_back() {
    let runtime = Idempotency::builder(MemoryStore::new()).max_running(1).build().unwrap();
    let effects = Effects::default();
    let app = payments(&runtime, effects.clone(), pay);
    for number in 0..20 {
        let answer = post("/payments").key(&number.to_string()).send(&app).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    assert_eq!(effects.count(), 20);
}

/// What has ended is answered although nothing more may run, also where the store has to be asked.
#[tokio::test(start_paused = true)]
async fn a_record_in_the_store_is_replayed_while_no_more_may_run() {
    let store = Faulty::new(MemoryStore::new());
    let runtime = Idempotency::builder(store).max_running(1).build().unwrap();
    let gated = Gated::default();
    let app = payments(&runtime, gated.clone(), pay_gated);
    let done = running(&app, &gated, "done").await;
    gated.gate.open();
    assert_eq!(done.await.unwrap().text(), "payment 1");

    let first = running(&app, &gated, "a").await;
    client(&app, "b").await.unwrap().assert_problem(503, "too_many_running");
    assert!(client(&app, "done").await.unwrap().is_replayed());
    gated.gate.open();
    assert_eq!(first.await.unwrap().text(), "payment 2");
}

/// An owner of bytes whose copies can be counted.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[idempotent(key = header("Idempotency-Key"), operation = "export")]
async fn export(State(buffer): State<Arc<Vec<u8>>>) -> Bytes {
    Bytes::from_owner(Shared(buffer)).slice(..17 * 1024)
}

/// CASES 76: what is charged is what is kept.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_kept_is_not_a_part_of_a_larger_buffer() {
    let (store, buffer) = (MemoryStore::new(), Arc::new(vec![b'a'; 1024 * 1024]));
    let app = Router::new()
        .route("/payments", on_post(export))
        .layer(Extension(Idempotency::new(store.clone())))
        .with_state(Arc::clone(&buffer));
    let others = Arc::strong_count(&buffer);
    let answer = post("/payments").key("k").send(&app).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 17 * 1024));
    drop(answer);
    assert_eq!((store.usage().completed, Arc::strong_count(&buffer)), (1, others));
}
