//! A process dies or stands still: its lease runs out, and exactly one other takes over.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_runtime::{FencingToken, KeyState};
use idempotent_tests::{Fault, Faulty, Gate, Step, post};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, LEASE, Paused, Process, SOON, WAIT, assert_paid, assert_replays, faulty, other,
    settings,
};

/// A handler that pays at once and notes the token of each execution.
fn notes_tokens(tokens: &Arc<Mutex<Vec<FencingToken>>>) -> Handler {
    let tokens = Arc::clone(tokens);
    Handler::new(move |run| {
        tokens.lock().unwrap().push(run.attempt.fencing_token().unwrap());
        async move { run.paid() }
    })
}

/// A runtime whose end is the death of a process.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Executes `k` up to the gate of its handler, and dies there.
fn die_half_way(store: &Faulty) -> KeyState {
    let first = runtime();
    first.block_on(async {
        let gate = Gate::new();
        let process = Process::new(store, &Handler::gated(&gate));
        let _request = process.begin_pay("k").await;
        gate.reached().await;
        process.state("k").await
    })
}

/// CASES 1, 12: a killed process blocks its key for the rest of its lease, not for the ttl.
#[test]
fn a_killed_process_blocks_its_key_until_its_lease_runs_out_and_then_one_takes_over() {
    let store = faulty();
    let KeyState::Leased { token: first, attempt: 1, .. } = die_half_way(&store) else {
        panic!("the handler did not run")
    };
    runtime().block_on(async {
        let tokens = Arc::default();
        let handler = notes_tokens(&tokens);
        let process = Process::new(&other(&store), &handler);
        let begun = Instant::now();
        let first_try = process.pay("k").await;
        first_try.assert_problem(409, "in_progress");
        assert_eq!(first_try.header("retry-after"), "1");
        // The look that patience ended in may have been on its way.
        assert!(begun.elapsed() >= WAIT && begun.elapsed() < WAIT + SOON);
        let patient = Process::with(settings(&other(&store)).wait(LEASE), &handler);
        let answer = patient.pay("k").await;
        assert_paid(&answer, 1, 2);
        let taken_over = begun.elapsed();
        // The clock of this runtime begins a moment after that of the dead process.
        assert!(taken_over > LEASE * 5 / 6 && taken_over < LEASE + SOON);
        assert_replays(&process.pay("k").await, &answer);
        assert!(tokens.lock().unwrap()[0] > first);
    });
}

/// The executor that ran the heartbeat is gone, the process is not.
#[test]
fn leases_are_renewed_on_a_second_executor_after_the_first_is_gone() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    runtime().block_on(async {
        let _request = process.begin_pay("lost").await;
        gate.reached().await;
    });
    runtime().block_on(async {
        let request = process.begin_pay("k").await;
        gate.reached().await;
        sleep(3 * LEASE).await; // far beyond the end of a lease that is not renewed
        assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 1, .. }));
        assert!(matches!(process.state("lost").await, KeyState::Abandoned { .. }));
        gate.open();
        assert_paid(&request.answer().await, 2, 1);
    });
}

/// CASES 1, 32: many wait in several processes for the lease of a dead one.
#[tokio::test(start_paused = true)]
async fn of_many_that_wait_for_a_dead_process_exactly_one_takes_over() {
    let store = faulty();
    let lost = Paused::new(&store).await;
    let KeyState::Abandoned { token: first, .. } = lost.process.state("k").await else {
        panic!("the lease did not run out")
    };
    let tokens = Arc::default();
    let handler = notes_tokens(&tokens);
    let processes: Vec<_> = (0..4).map(|_| Process::new(&other(&store), &handler)).collect();
    // All processes ask at the same instant, twice each.
    let mut sent = Vec::new();
    for process in processes.iter().chain(&processes) {
        sent.push(process.begin_pay("k").await);
    }
    let mut answers = Vec::new();
    for sent in sent {
        answers.push(sent.answer().await);
    }
    assert!(answers.iter().all(|answer| answer.text() == "payment 1, attempt 2"), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    assert!(tokens.lock().unwrap()[0] > first);
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_take_over_at_the_end_of_the_lease_and_not_before() {
    let (store, gate) = (faulty(), Gate::new());
    let cut_off = other(&store);
    cut_off.always(Step::Renew, Fault::Unreachable);
    let first = Process::new(&cut_off, &Handler::gated(&gate));
    let begun = Instant::now();
    let _first = first.begin_pay("k").await;
    gate.reached().await;

    let handler = Handler::pays();
    let patient = Process::with(settings(&store).wait(2 * LEASE), &handler);
    assert_paid(&patient.pay("k").await, 1, 2);
    assert!(begun.elapsed() >= LEASE && begun.elapsed() < LEASE + SOON, "{:?}", begun.elapsed());
}

/// CASES 15, 41: the first owner was paused, not dead.
#[tokio::test(start_paused = true)]
async fn a_paused_owner_that_wakes_up_answers_the_record_of_the_attempt_that_replaced_it() {
    let (store, tokens) = (faulty(), Arc::default());
    let paused = Paused::new(&store).await;
    let KeyState::Abandoned { token: first, .. } = paused.process.state("k").await else {
        panic!("the lease did not run out")
    };
    let handler = notes_tokens(&tokens);
    let process = Process::new(&store, &handler);
    let recorded = process.pay("k").await;
    assert_paid(&recorded, 1, 2);
    assert!(tokens.lock().unwrap()[0] > first);
    let late = paused.end().await;
    assert_replays(&late, &recorded);
    let KeyState::Completed { record, .. } = process.state("k").await else {
        panic!("the record is gone")
    };
    assert_eq!(record.body(), &recorded.body);
}

/// `on_abandoned = rerun`, inline: a dropped handler may have had its effect, so its lease runs out.
#[tokio::test(start_paused = true)]
async fn a_dropped_inline_handler_is_taken_over_when_its_lease_has_run_out() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::with(settings(&store).wait(2 * LEASE), &handler);
    let begun = Instant::now();
    let first = process.begin(post("/inline").key("k")).await;
    gate.reached().await;
    first.hang_up().await;
    let retry = process.begin(post("/inline").key("k")).await;
    gate.reached().await;
    assert!(begun.elapsed() >= LEASE && begun.elapsed() < LEASE + SOON, "{:?}", begun.elapsed());
    gate.open();
    assert_paid(&retry.answer().await, 2, 2);
    assert_eq!((store.calls(Step::Renew), store.calls(Step::Release)), (0, 0));
}

/// CASES 42: what a key is remembered for: the retention, from the end of its lease.
#[tokio::test(start_paused = true)]
async fn an_abandoned_key_is_remembered_for_the_ttl_and_then_forgotten() {
    let (store, handler) = (faulty(), Handler::pays());
    let lost = Paused::new(&store).await;
    let process = Process::new(&store, &handler);
    // To the last instant of the retention: the key is another request's.
    sleep(Duration::from_hours(24) - Duration::from_millis(1)).await;
    let foreign = || crate::support::pay_with("k").body("another request");
    process.send(foreign()).await.assert_problem(422, "key_reused");
    sleep(Duration::from_millis(1)).await;
    assert_paid(&process.send(foreign()).await, 1, 1);
    drop(lost);
}

/// CASES 72: whoever meets a key whose process is gone is told when its lease runs out, and whoever
/// meets a living one to come back soon.
#[tokio::test(start_paused = true)]
async fn retry_after_is_what_is_left_of_the_lease_of_a_process_that_is_gone() {
    let (store, gate) = (faulty(), Gate::new());
    let (gone, handler) = (other(&store), Handler::gated(&gate));
    gone.always(Step::Renew, Fault::Unreachable);
    let process = Process::new(&gone, &handler);
    let _running = process.begin_pay("k").await;
    gate.reached().await;
    let begun = tokio::time::Instant::now();
    let impatient = Process::with(settings(&store).wait(Duration::ZERO), &Handler::pays());
    for (at, told) in [(5_000, "1"), (15_000, "15"), (20_500, "10"), (29_900, "1")] {
        tokio::time::sleep_until(begun + Duration::from_millis(at)).await;
        let answer = impatient.pay("k").await;
        answer.assert_problem(409, "in_progress");
        assert_eq!(answer.header("retry-after"), told, "after {at} ms");
    }
    tokio::time::sleep_until(begun + LEASE).await;
    assert_paid(&impatient.pay("k").await, 1, 2);
}
