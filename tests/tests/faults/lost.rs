//! The lease is lost before the outcome is recorded: the store decides what is true.

use idempotent_runtime::KeyState;
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, LEASE, NOBODY, PAY, Paused, Process, SOON, WAIT, assert_paid, assert_replays, failed,
    faulty, other, pay_with, settings,
};

/// CASES 41: two owners, and one final answer.
/// CASES 15: the late completion does not overwrite the new owner's record.
#[tokio::test(start_paused = true)]
async fn a_late_owner_answers_the_record_of_whoever_took_over() {
    let (store, handler) = (faulty(), Handler::pays());
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    let recorded = process.pay("k").await;
    assert_paid(&recorded, 1, 2);

    let paused_handler = paused.handler.clone();
    let late = paused.end().await;
    assert_replays(&late, &recorded);
    assert_replays(&process.pay("k").await, &recorded);
    assert_eq!((handler.runs(), paused_handler.runs()), (1, 1));
}

/// CASES 41: the other is still running, so there is no answer yet.
#[tokio::test(start_paused = true)]
async fn a_late_owner_waits_for_the_record_of_whoever_is_running() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    let running = process.begin_pay("k").await;
    gate.reached().await;

    paused.gate.open();
    // Longer than a client is held for a silent store, shorter than patience.
    sleep(WAIT / 2).await;
    assert!(!paused.request.is_answered());
    gate.open();
    let recorded = running.answer().await;
    assert_paid(&recorded, 1, 2);
    let ended = Instant::now();
    assert_replays(&paused.request.answer().await, &recorded);
    assert!(ended.elapsed() < SOON);
}

/// CASES 41: patience with the new owner ends in `409`, not in a second answer.
#[tokio::test(start_paused = true)]
async fn a_late_owner_answers_409_when_whoever_is_running_does_not_end_within_wait() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    let running = process.begin_pay("k").await;
    gate.reached().await;

    let ended = Instant::now();
    paused.end().await.assert_problem(409, "in_progress");
    assert!(ended.elapsed() >= WAIT && ended.elapsed() < WAIT + SOON, "{:?}", ended.elapsed());
    gate.open();
    let recorded = running.answer().await;
    assert_paid(&recorded, 1, 2);
    assert_replays(&process.pay("k").await, &recorded);
}

/// A lease that ran out and that nobody took over is still its owner's.
#[tokio::test(start_paused = true)]
async fn a_late_owner_that_nobody_replaced_records_its_outcome() {
    let store = faulty();
    let paused = Paused::new(&store).await;
    assert!(matches!(paused.process.state("k").await, KeyState::Abandoned { .. }));
    let answer = paused.end().await;
    assert_paid(&answer, 1, 1);
    let (elsewhere, handler) = (Handler::pays(), &other(&store));
    assert_replays(&Process::new(handler, &elsewhere).pay("k").await, &answer);
    assert_eq!(elsewhere.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_owner_of_a_forgotten_key_records_its_outcome_without_a_second_run() {
    let (store, elsewhere) = (faulty(), Handler::pays());
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &elsewhere);
    assert!(process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap());
    let handler = paused.handler.clone();
    let answer = paused.end().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!((handler.runs(), elsewhere.runs()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_owner_of_a_released_key_records_its_outcome_without_a_second_run() {
    let store = faulty();
    let elsewhere = Handler::new(|_| async { failed() });
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &elsewhere);
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    assert!(matches!(process.state("k").await, KeyState::Released { attempt: 2, .. }));
    let handler = paused.handler.clone();
    let answer = paused.end().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!((handler.runs(), elsewhere.runs()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_owner_of_a_twice_abandoned_key_records_its_outcome_without_a_second_run() {
    let store = faulty();
    let paused = Paused::new(&store).await;
    // A second process takes over and is lost in its turn.
    let second = Paused::new(&store).await;
    assert!(
        matches!(second.process.state("k").await, KeyState::Abandoned { attempt: 2, .. }),
        "{:?}",
        second.process.state("k").await
    );
    let answer = paused.end().await;
    assert_paid(&answer, 1, 1);
    // And the second learns of it.
    assert_replays(&second.end().await, &answer);
}

/// CASES 42: the key was forgotten and belongs to another request by now.
/// CASES 15: whose record stays what it is.
#[tokio::test(start_paused = true)]
async fn a_late_owner_whose_key_went_to_another_request_answers_422_and_overwrites_nothing() {
    let (store, handler) = (faulty(), Handler::pays());
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
    let foreign = || pay_with("k").body("another request");
    let recorded = process.send(foreign()).await;
    assert_paid(&recorded, 1, 1);

    paused.end().await.assert_problem(422, "key_reused");
    assert_replays(&process.send(foreign()).await, &recorded);
}

/// CASES 42: the same while the other request is still running.
#[tokio::test(start_paused = true)]
async fn a_late_owner_whose_key_is_leased_to_another_request_answers_422_at_once() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
    let running = process.begin(pay_with("k").body("another request")).await;
    gate.reached().await;
    let ended = Instant::now();
    paused.end().await.assert_problem(422, "key_reused");
    assert_eq!(ended.elapsed(), std::time::Duration::ZERO);
    gate.open();
    assert_paid(&running.answer().await, 1, 1);
}

/// CASES 41: the lease is lost and nobody says to whom, so another answer may exist.
#[tokio::test(start_paused = true)]
async fn a_late_owner_answers_503_when_the_store_does_not_say_who_took_over() {
    for fault in [Fault::Unreachable, Fault::Hang] {
        let (store, handler) = (faulty(), Handler::pays());
        let paused = Paused::new(&store).await;
        let process = Process::new(&store, &handler);
        let recorded = process.pay("k").await;

        paused.store.always(Step::Inspect, fault);
        paused.gate.open();
        paused.request.answer().await.assert_problem(503, "store_unavailable");
        paused.store.heal();
        assert_replays(&paused.process.pay("k").await, &recorded);
        assert_eq!(paused.handler.runs(), 1);
    }
}

/// CASES 41: those who wait for it in its process do not get the answer of a lost lease either.
#[tokio::test(start_paused = true)]
async fn waiters_of_an_owner_that_lost_its_lease_get_the_record_of_whoever_took_over() {
    let (store, handler) = (faulty(), Handler::pays());
    let cut_off = other(&store);
    cut_off.always(Step::Renew, Fault::Unreachable);
    let gate = Gate::new();
    let paused = Handler::gated(&gate);
    let patient = settings(&cut_off).wait(2 * LEASE);
    let process = Process::with(patient, &paused);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    let waiter = process.begin_pay("k").await;
    // To the end of the lease. The waiter's look at the store is slower than the other process.
    let look = Gate::new();
    cut_off.next(Step::Acquire, Fault::Hold(look.clone()));
    look.reached().await;
    let elsewhere = Process::new(&store, &handler);
    let recorded = elsewhere.pay("k").await;
    assert_paid(&recorded, 1, 2);
    look.open();
    assert_replays(&waiter.answer().await, &recorded);
    gate.open();
    assert_replays(&first.answer().await, &recorded);
    assert_eq!((paused.runs(), handler.runs()), (1, 1));
}

/// CASES 41: tombstones are all alike, streams are not: another owner's says nothing of ours.
#[tokio::test(start_paused = true)]
async fn a_late_owner_of_a_stream_does_not_take_the_tombstone_of_another_for_its_own() {
    let (store, gate) = (faulty(), Gate::new());
    let first = Handler::streams(&gate);
    let paused = Paused::running(&store, |settings| settings, first, gate).await;
    let open = Gate::new();
    open.open();
    let elsewhere = Handler::streams(&open);
    let second = Process::new(&store, &elsewhere).pay("k").await;
    assert_eq!(second.text(), "data: 1\n\n");
    // No answer to the first try, so that the second may find what the first has recorded.
    paused.store.next(Step::Complete, Fault::Unreachable);
    paused.end().await.assert_problem(409, "not_replayable");
}
