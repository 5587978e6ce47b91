//! A transient outcome gives the lease back, over a store that fails at that.

use std::time::Duration;

use idempotent_runtime::KeyState;
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, LEASE, Paused, Process, SOON, assert_paid, assert_replays, failed, faulty, other,
};

/// A handler that fails at once in its first execution, and pays in all others.
fn fails_once() -> Handler {
    let gate = Gate::new();
    gate.open();
    Handler::fails_once(&gate)
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_was_lost_is_one_release_and_the_retry_runs_at_once() {
    let (store, handler) = (faulty(), fails_once());
    let process = Process::new(&store, &handler);
    store.next(Step::Release, Fault::LoseAnswer);
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    let begun = Instant::now();
    assert_paid(&process.pay("k").await, 2, 2);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// CASES 41: an answer that another owner has recorded is the answer, whatever ours was.
#[tokio::test(start_paused = true)]
async fn a_refused_release_answers_the_record_of_whoever_took_over() {
    let (store, gate) = (faulty(), Gate::new());
    let elsewhere = Handler::pays();
    let paused = Paused::running(&store, |s| s, Handler::fails_once(&gate), gate).await;
    let process = Process::new(&store, &elsewhere);
    let recorded = process.pay("k").await;
    assert_paid(&recorded, 1, 2);
    assert_replays(&paused.end().await, &recorded);
    assert_replays(&process.pay("k").await, &recorded);
}

/// CASES 41: also when the first look at it fails.
#[tokio::test(start_paused = true)]
async fn a_refused_release_looks_again_when_the_store_was_away() {
    let (store, gate) = (faulty(), Gate::new());
    let elsewhere = Handler::pays();
    let paused = Paused::running(&store, |s| s, Handler::fails_once(&gate), gate).await;
    let recorded = Process::new(&store, &elsewhere).pay("k").await;
    paused.store.next(Step::Inspect, Fault::Unreachable);
    assert_replays(&paused.end().await, &recorded);
}

/// CASES 15: and the other owner keeps its lease while it runs.
#[tokio::test(start_paused = true)]
async fn a_refused_release_leaves_the_lease_of_whoever_took_over_alone() {
    let (store, gate, running) = (faulty(), Gate::new(), Gate::new());
    let elsewhere = Handler::gated(&running);
    let paused = Paused::running(&store, |s| s, Handler::fails_once(&gate), gate).await;
    let process = Process::new(&store, &elsewhere);
    let second = process.begin_pay("k").await;
    running.reached().await;
    assert_eq!(paused.end().await.text(), "the bank is closed");
    assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 2, .. }));
    running.open();
    assert_paid(&second.answer().await, 1, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_release_holds_the_client_a_second_and_is_asked_again_later() {
    for fault in [Fault::Unreachable, Fault::Hang] {
        let (store, handler) = (faulty(), fails_once());
        let process = Process::new(&store, &handler);
        store.always(Step::Release, fault);
        let begun = Instant::now();
        assert_eq!(process.pay("k").await.text(), "the bank is closed");
        assert!(begun.elapsed() < Duration::from_secs(1) + SOON, "{:?}", begun.elapsed());
        assert!(matches!(process.state("k").await, KeyState::Leased { .. }));

        store.heal();
        // By then a call that hung has run into `store_timeout`, and the next one has released.
        sleep(Duration::from_secs(2) + SOON).await;
        assert!(matches!(process.state("k").await, KeyState::Released { .. }));
        let elsewhere = Handler::pays();
        assert_paid(&Process::new(&other(&store), &elsewhere).pay("k").await, 1, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_released_is_not_renewed_and_runs_out() {
    let (store, handler) = (faulty(), fails_once());
    let process = Process::new(&store, &handler);
    store.always(Step::Release, Fault::Unreachable);
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    // To the end of the lease.
    sleep(LEASE).await;
    assert_eq!(store.calls(Step::Renew), 0);
    assert_paid(&process.pay("k").await, 2, 2);
}

/// CASES 15: cancelled calls still apply later; a release then belongs to a lease of the past.
#[tokio::test(start_paused = true)]
async fn a_release_that_arrives_late_does_not_free_the_lease_of_the_retry() {
    let (store, late, running) = (faulty(), Gate::new(), Gate::new());
    let gate = running.clone();
    let handler = Handler::new(move |run| {
        let gate = gate.clone();
        async move {
            if run.nth == 1 {
                return failed();
            }
            gate.pass().await;
            run.paid()
        }
    });
    let process = Process::new(&store, &handler);
    store.next(Step::Release, Fault::Late(late.clone()));
    let first = process.begin_pay("k").await;
    assert_eq!(first.answer().await.text(), "the bank is closed");
    sleep(SOON).await; // by then the background's own call has released
    assert_eq!(store.calls(Step::Release), 2);
    let retry = process.begin_pay("k").await;
    running.reached().await;
    late.open();
    sleep(SOON).await; // the late call is applied now
    assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 2, .. }));
    running.open();
    assert_paid(&retry.answer().await, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn waiters_share_a_transient_answer_that_cannot_be_released() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let process = Process::new(&store, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    let waiter = process.begin_pay("k").await;
    store.always(Step::Release, Fault::Unreachable);
    gate.open();
    assert_eq!(first.answer().await.text(), "the bank is closed");
    assert_eq!(waiter.answer().await.text(), "the bank is closed");
    assert_eq!(handler.runs(), 1);
}
