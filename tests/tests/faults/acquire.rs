//! `acquire` fails, hangs, or loses its answer.

use std::time::Duration;

use idempotent_runtime::{Idempotency, KeyState, MemoryStore, OnStoreError};
use idempotent_tests::{Fault, Faulty, Gate, Step};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, NOBODY, PAY, Process, SOON, assert_paid, assert_replays, faulty, other, settings,
};

#[tokio::test(start_paused = true)]
async fn an_unreachable_store_is_503_and_the_handler_does_not_run() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    store.always_all(&Fault::Unreachable);
    let answer = process.pay("k").await;
    answer.assert_problem(503, "store_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(handler.runs(), 0);

    store.heal();
    assert_paid(&process.pay("k").await, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn duplicates_that_joined_a_claim_share_its_503() {
    let (store, handler, gate) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    store.always_all(&Fault::Unreachable);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    let second = process.begin_pay("k").await;
    // Never opened: the first try runs into `store_timeout`, the second is refused.
    first.answer().await.assert_problem(503, "store_unavailable");
    second.answer().await.assert_problem(503, "store_unavailable");
    assert_eq!(handler.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_503_and_the_handler_does_not_run() {
    let handler = Handler::pays();
    let store = Faulty::new(MemoryStore::builder().budget(4096).build());
    let process = Process::new(&store, &handler);
    let mut full = None;
    for key in 0..100 {
        let answer = process.pay(&key.to_string()).await;
        if answer.status.is_server_error() {
            full = Some((key, answer));
            break;
        }
    }
    let (key, answer) = full.expect("4 KiB hold 100 keys");
    answer.assert_problem(503, "store_full");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(handler.runs(), key);
    // What was recorded before is still replayed.
    assert!(process.pay("0").await.is_replayed());
}

/// CASES 40: what the store holds is not readable, and that is never "nothing".
#[tokio::test(start_paused = true)]
async fn an_unreadable_record_is_500_and_never_an_execution_not_even_with_bypass() {
    for choice in [OnStoreError::Fail, OnStoreError::Bypass] {
        let (store, handler) = (faulty(), Handler::pays());
        let process = Process::with(settings(&store).on_store_error(choice), &handler);
        store.always(Step::Acquire, Fault::Corrupt);
        let answer = process.pay("k").await;
        answer.assert_problem(500, "record_unreadable");
        assert_eq!(answer.header("retry-after"), "");
        assert_eq!(handler.runs(), 0);
    }
}

/// CASES 40: the same for a look at a key that another process holds.
#[tokio::test(start_paused = true)]
async fn a_record_that_becomes_unreadable_while_waiting_is_500_and_never_an_execution() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let owner = Process::new(&store, &handler);
    let running = owner.begin_pay("k").await;
    gate.reached().await;

    let store = other(&store);
    let waiting = settings(&store).on_store_error(OnStoreError::Bypass);
    let waiting = Process::with(waiting, &handler);
    store.always(Step::Inspect, Fault::Corrupt);
    waiting.pay("k").await.assert_problem(500, "record_unreadable");
    gate.open();
    assert_paid(&running.answer().await, 1, 1);
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_two_store_timeouts() {
    let (store, handler) = (faulty(), Handler::pays());
    let store_timeout = Duration::from_millis(700);
    let process = Process::with(settings(&store).store_timeout(store_timeout), &handler);
    store.always_all(&Fault::Hang);
    let begun = Instant::now();
    process.pay("k").await.assert_problem(503, "store_unavailable");
    assert_eq!(begun.elapsed(), 2 * store_timeout);
    assert_eq!(handler.runs(), 0);
}

/// CASES 31: granted at the server, unknown at the client.
/// CASES 43: the same id is asked for again, so the key is not stuck.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_was_lost_is_asked_for_again_and_runs_once() {
    let lost =
        [(Fault::LoseAnswer, Duration::ZERO), (Fault::ApplyThenHang, Duration::from_secs(2))];
    for (fault, takes) in lost {
        let (store, handler) = (faulty(), Handler::pays());
        let process = Process::new(&store, &handler);
        store.next(Step::Acquire, fault);
        let begun = Instant::now();
        let answer = process.pay("k").await;
        // The first attempt: with another id the key would be in flight for a lease.
        assert_paid(&answer, 1, 1);
        assert_eq!(begun.elapsed(), takes);
        assert_eq!(store.calls(Step::Acquire), 2);
        assert_replays(&process.pay("k").await, &answer);
        assert_eq!(handler.runs(), 1);
    }
}

/// CASES 31, 43: nobody knows of the lease, so it is given back rather than left to run out.
#[tokio::test(start_paused = true)]
async fn a_lease_whose_answer_was_lost_twice_is_released_and_the_retry_runs_at_once() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::LoseAnswer);
    store.next(Step::Acquire, Fault::LoseAnswer);
    process.pay("k").await.assert_problem(503, "store_unavailable");
    assert_eq!(handler.runs(), 0);

    let begun = Instant::now();
    // The lease that nobody used counts as an attempt.
    assert_paid(&process.pay("k").await, 1, 2);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// CASES 31, 43: also where the store is away at first when it is given back.
#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_knows_of_is_released_when_the_store_is_back() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    for fault in [Fault::LoseAnswer, Fault::LoseAnswer, Fault::Unreachable] {
        store.next(Step::Acquire, fault);
    }
    process.pay("k").await.assert_problem(503, "store_unavailable");
    crate::support::until(|| store.calls(Step::Acquire) == 3).await;

    let begun = Instant::now();
    assert_paid(&process.pay("k").await, 1, 2);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(handler.runs(), 1);
}

/// CASES 31, 43: an `acquire` that arrives after it was given up wins nothing.
#[tokio::test(start_paused = true)]
async fn an_acquire_that_arrives_after_it_was_withdrawn_is_refused() {
    let (store, handler, late) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Late(late.clone()));
    store.next(Step::Acquire, Fault::Unreachable);
    process.pay("k").await.assert_problem(503, "store_unavailable");
    crate::support::until(|| store.calls(Step::Release) == 1).await;

    late.open();
    tokio::task::yield_now().await;
    assert!(matches!(process.state("k").await, KeyState::Released { attempt: 1, .. }));
    let begun = Instant::now();
    assert_paid(&process.pay("k").await, 1, 2);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// CASES 17: a claim that fails, and a re-read that finds nothing.
#[tokio::test(start_paused = true)]
async fn an_empty_look_never_leads_to_an_execution_without_a_lease() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let owner = Process::new(&store, &handler);
    let running = owner.begin_pay("k").await;
    gate.reached().await;

    let waiting_store = other(&store);
    let waiting = Process::new(&waiting_store, &handler);
    let waiter = waiting.begin_pay("k").await;
    crate::support::until(|| waiting_store.calls(Step::Acquire) == 1).await;
    waiting_store.always(Step::Acquire, Fault::Unreachable);
    assert!(owner.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());
    waiter.answer().await.assert_problem(503, "store_unavailable");
    assert!(waiting_store.calls(Step::Inspect) > 0);
    assert_eq!(handler.runs(), 1);
    gate.open();
    assert_paid(&running.answer().await, 1, 1);
}

/// CASES 31: an answer that took longer than the lease is no right to run.
#[tokio::test(start_paused = true)]
async fn a_grant_that_arrives_after_its_lease_ran_out_does_not_run() {
    let lease = Duration::from_secs(1);
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::pays();
    let settings = |store| Idempotency::builder(store).lease(lease);
    let slow = Process::with(settings(store.clone()), &handler);
    let quick = Process::with(settings(other(&store)), &handler);
    store.next(Step::Acquire, Fault::HoldAnswer(gate.clone()));
    let late = slow.begin_pay("k").await;
    gate.reached().await;

    // To the instant at which the lease runs out at the store: another process takes over.
    sleep(lease).await;
    let answer = quick.pay("k").await;
    assert_paid(&answer, 1, 2);
    gate.open();
    assert_replays(&late.answer().await, &answer);
    assert_eq!(handler.runs(), 1);
}

/// CASES 31: and where nobody took over, what is asked for again is granted again.
#[tokio::test(start_paused = true)]
async fn a_grant_that_arrives_after_its_lease_ran_out_is_asked_for_again() {
    let lease = Duration::from_secs(1);
    let (store, handler, gate) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::with(Idempotency::builder(store.clone()).lease(lease), &handler);
    store.next(Step::Acquire, Fault::HoldAnswer(gate.clone()));
    let late = process.begin_pay("k").await;
    gate.reached().await;
    sleep(lease).await; // to the instant at which the lease runs out at the store
    gate.open();
    assert_paid(&late.answer().await, 1, 1);
    assert_eq!((handler.runs(), store.calls(Step::Acquire)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_during_the_claim_leaves_no_lease_behind() {
    let (store, handler, gate) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::HoldAnswer(gate.clone()));
    let gone = process.begin_pay("k").await;
    gate.reached().await;
    gone.hang_up().await;
    gate.open();
    crate::support::until(|| store.calls(Step::Release) == 1).await;
    assert_eq!(handler.runs(), 0);

    let begun = Instant::now();
    assert_paid(&process.pay("k").await, 1, 2);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
