//! `on_store_error = bypass`: availability over safety, and still one run per process.

use idempotent_runtime::{Attempt, OnStoreError};
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::sleep;

use crate::support::{Handler, LEASE, Process, assert_paid, faulty, settings};

fn bypassing(store: &idempotent_tests::Faulty, handler: &Handler) -> Process {
    Process::with(settings(store).on_store_error(OnStoreError::Bypass), handler)
}

#[tokio::test(start_paused = true)]
async fn bypass_runs_the_handler_unguarded_when_the_store_is_away_or_full() {
    fn is_unguarded(attempt: &Attempt) -> bool {
        !attempt.is_guarded() && attempt.fencing_token().is_none() && !attempt.is_recovery()
    }
    for fault in [Fault::Unreachable, Fault::Hang, Fault::Full] {
        let store = faulty();
        let handler = Handler::new(|run| async move {
            assert!(is_unguarded(&run.attempt));
            run.paid()
        });
        let process = bypassing(&store, &handler);
        store.always_all(&fault);
        assert_paid(&process.pay("k").await, 1, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn with_bypass_a_store_that_answers_guards_as_ever() {
    let store = faulty();
    let handler = Handler::new(|run| async move {
        assert!(run.attempt.is_guarded());
        run.paid()
    });
    let process = bypassing(&store, &handler);
    assert_paid(&process.pay("k").await, 1, 1);
    assert!(process.pay("k").await.is_replayed());
}

#[tokio::test(start_paused = true)]
async fn duplicates_join_an_unguarded_run_and_share_its_answer() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = bypassing(&store, &handler);
    store.always_all(&Fault::Unreachable);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    let joined = process.begin_pay("k").await;
    // The store coming back does not make the running operation a second one.
    store.heal();
    let joined_later = process.begin_pay("k").await;
    gate.open();
    let first = first.answer().await;
    assert_paid(&first, 1, 1);
    for shared in [joined, joined_later] {
        let shared = shared.answer().await;
        assert!(!shared.is_replayed(), "nothing was recorded");
        assert_eq!((shared.status, shared.body), (first.status, first.body.clone()));
    }
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_bypass_duplicates_join_a_run_whose_lease_ran_out_while_the_store_was_away() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = bypassing(&store, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    store.always_all(&Fault::Unreachable);
    // To the end of the lease, which could not be renewed.
    sleep(LEASE).await;
    let second = process.begin_pay("k").await;
    crate::support::until(|| store.calls(Step::Acquire) >= 3).await;
    let third = process.begin_pay("k").await;
    // Nobody's patience is over before the handler ends.
    store.heal();
    gate.open();
    let first = first.answer().await;
    assert_paid(&first, 1, 1);
    assert_eq!(second.answer().await.body, first.body);
    assert_eq!(third.answer().await.body, first.body);
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_bypass_patience_with_a_run_of_lost_lease_ends_in_409_and_the_run_stays_joinable() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = bypassing(&store, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    store.always_all(&Fault::Unreachable);
    // To the end of the lease, which could not be renewed.
    sleep(LEASE).await;
    for _ in 0..3 {
        process.pay("k").await.assert_problem(409, "in_progress");
    }
    assert_eq!(handler.runs(), 1);
    store.heal();
    gate.open();
    assert_paid(&first.answer().await, 1, 1);
}
