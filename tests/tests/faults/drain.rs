//! A graceful shutdown: nothing new begins, and everything that began is brought to its end.

use std::time::Duration;

use idempotent_runtime::{Idempotency, KeyState};
use idempotent_tests::{Fault, Gate, Step, post};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::support::{
    Handler, LEASE, Process, WAIT, assert_paid, assert_replays, faulty, in_time, other, pay_with,
};

const DEADLINE: Duration = Duration::from_mins(5);

/// Begins to drain: the runtime has been told when this returns.
async fn drain(runtime: &Idempotency, within: Duration) -> JoinHandle<usize> {
    let runtime = runtime.clone();
    let draining = tokio::spawn(async move { runtime.drain(within).await });
    tokio::task::yield_now().await;
    draining
}

/// CASES 35: handlers end and are recorded, waiters answered.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_handlers_and_their_records() {
    for path in ["/pay", "/inline"] {
        let (store, gate) = (faulty(), Gate::new());
        let handler = Handler::gated(&gate);
        let process = Process::new(&store, &handler);
        let request = || post(path).key("k");
        let running = process.begin(request()).await;
        gate.reached().await;
        let waiter = process.begin(request()).await;
        let draining = drain(&process.runtime, DEADLINE).await;
        // A duplicate still joins what runs.
        let joined = process.begin(request()).await;
        sleep(WAIT / 2).await; // in the middle of the duplicates' patience
        assert!(!draining.is_finished());
        gate.open();
        assert_eq!(in_time(draining).await.unwrap(), 0);
        assert_eq!(store.inner().usage().leased, 0);
        let answer = running.answer().await;
        assert_paid(&answer, 1, 1);
        assert_replays(&waiter.answer().await, &answer);
        assert_replays(&joined.answer().await, &answer);
        assert_eq!(handler.runs(), 1);
    }
}

/// CASES 35: the client has hung up, the handler goes on.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_handlers_whose_client_is_gone() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let gone = process.begin_pay("k").await;
    gate.reached().await;
    gone.hang_up().await;
    let draining = drain(&process.runtime, DEADLINE).await;
    assert!(!draining.is_finished());
    gate.open();
    assert_eq!(in_time(draining).await.unwrap(), 0);
    assert!(process.pay("k").await.is_replayed());
}

#[tokio::test(start_paused = true)]
async fn fresh_requests_are_503_while_draining_and_replays_are_served() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    let answer = process.pay("old").await;
    assert_eq!(process.runtime.drain(DEADLINE).await, 0);
    let fresh = process.pay("new").await;
    fresh.assert_problem(503, "draining");
    assert_eq!(fresh.header("retry-after"), "1");
    assert_replays(&process.pay("old").await, &answer);
    process.send(pay_with("old").body("other")).await.assert_problem(422, "key_reused");
    assert!(matches!(process.state("new").await, KeyState::Absent));
    assert_eq!(handler.runs(), 1);
}

/// The store is in the memory of this process: a replay does not even ask.
#[tokio::test(start_paused = true)]
async fn replays_from_memory_are_served_while_draining() {
    let handler = Handler::pays();
    let store = idempotent_runtime::MemoryStore::new();
    let process = Process::with(Idempotency::builder(store), &handler);
    let answer = process.pay("old").await;
    assert_eq!(process.runtime.drain(DEADLINE).await, 0);
    assert_replays(&process.pay("old").await, &answer);
    process.pay("new").await.assert_problem(503, "draining");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_another_process_gets_its_record_while_draining() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let owner = Process::new(&store, &handler);
    let running = owner.begin_pay("k").await;
    gate.reached().await;
    let process = Process::new(&other(&store), &handler);
    let draining = drain(&process.runtime, DEADLINE).await;
    let waiter = process.begin_pay("k").await;
    gate.open();
    assert_replays(&waiter.answer().await, &running.answer().await);
    assert_eq!(in_time(draining).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_another_process_does_not_take_over_while_draining() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let owner = Process::new(&store, &handler);
    let running = owner.begin_pay("k").await;
    gate.reached().await;
    let process = Process::new(&other(&store), &handler);
    let waiter = process.begin_pay("k").await;
    let draining = drain(&process.runtime, DEADLINE).await;
    gate.open();
    running.answer().await;
    waiter.answer().await.assert_problem(503, "draining");
    assert_eq!(in_time(draining).await.unwrap(), 0);
    assert_eq!(handler.runs(), 1);
}

/// CASES 35: an answer that was given is recorded before the process ends.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_records_that_are_saved_in_the_background() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    store.always(Step::Complete, Fault::Unreachable);
    let answer = process.pay("k").await;
    assert_paid(&answer, 1, 1);
    let draining = drain(&process.runtime, DEADLINE).await;
    sleep(DEADLINE / 2).await; // in the middle of the deadline
    assert!(!draining.is_finished());
    assert_replays(&process.pay("k").await, &answer);
    store.heal();
    assert_eq!(in_time(draining).await.unwrap(), 0);
    let elsewhere = Handler::pays();
    assert_replays(&Process::new(&other(&store), &elsewhere).pay("k").await, &answer);
}

/// CASES 53: a handler that has had its effect keeps its lease, whatever the deadline says.
#[tokio::test(start_paused = true)]
async fn drain_tells_how_many_were_left_at_its_deadline_and_releases_none_of_them() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let mut running = Vec::new();
    for request in [pay_with("1"), pay_with("2"), post("/inline").key("3")] {
        running.push(process.begin(request).await);
        gate.reached().await;
    }
    let begun = Instant::now();
    assert_eq!(process.runtime.drain(DEADLINE).await, 3);
    assert_eq!(begun.elapsed(), DEADLINE);
    assert_eq!((store.calls(Step::Release), store.calls(Step::Abandon)), (0, 0));
    assert_eq!(store.inner().usage().leased, 3);
    let elsewhere = Process::new(&other(&store), &handler);
    elsewhere.pay("1").await.assert_problem(409, "in_progress");

    // What still ends before the process does is recorded all the same.
    for _ in 0..3 {
        gate.open();
    }
    for running in running {
        assert_eq!(running.answer().await.status, 201);
    }
    assert_eq!(process.runtime.drain(DEADLINE).await, 0);
    assert_eq!(handler.runs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_under_way_when_draining_began_is_run_and_waited_for() {
    let (store, handler, gate) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let request = process.begin_pay("k").await;
    gate.reached().await;
    let draining = drain(&process.runtime, DEADLINE).await;
    assert!(!draining.is_finished());
    gate.open();
    assert_paid(&request.answer().await, 1, 1);
    assert_eq!(in_time(draining).await.unwrap(), 0);
}

/// CASES 35: another process goes on while this one shuts down.
#[tokio::test(start_paused = true)]
async fn what_drain_left_behind_is_taken_over_when_the_process_is_gone() {
    let store = faulty();
    let elsewhere = Handler::pays();
    let stopped = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let dying = other(&store);
    let stopped = tokio::task::spawn_blocking(move || {
        stopped.block_on(async {
            let gate = Gate::new();
            let process = Process::new(&dying, &Handler::gated(&gate));
            let _running = process.begin_pay("k").await;
            gate.reached().await;
            assert_eq!(process.runtime.drain(Duration::ZERO).await, 1);
        });
    });
    stopped.await.unwrap();
    let process = Process::new(&store, &elsewhere);
    process.pay("k").await.assert_problem(409, "in_progress");
    sleep(LEASE).await; // by then the lease has run out
    assert_paid(&process.pay("k").await, 1, 2);
}
