//! Duplicates in another process than the one that executes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{KeyState, OnAbandoned};
use idempotent_tests::{Fault, Faulty, Gate, Step};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, NOBODY, PAY, Process, SOON, Sent, WAIT, assert_paid, assert_replays, failed, faulty,
    other, pay_with, settings, until,
};

/// A process that is executing `k`, and another that waits for it.
struct Two {
    gate: Gate,
    handler: Handler,
    owner: Process,
    running: Sent,
    store: Faulty,
    second: Process,
}

impl Two {
    async fn new(wait: Duration) -> Self {
        let gate = Gate::new();
        Self::with(wait, Handler::gated(&gate), gate).await
    }

    async fn with(wait: Duration, handler: Handler, gate: Gate) -> Self {
        let owners = faulty();
        let owner = Process::new(&owners, &handler);
        let running = owner.begin_pay("k").await;
        gate.reached().await;
        let store = other(&owners);
        let second = Process::with(settings(&store).wait(wait), &handler);
        Self { gate, handler, owner, running, store, second }
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_elsewhere_gets_the_answer_soon_after_it_is_recorded() {
    let two = Two::new(WAIT).await;
    let waiter = two.second.begin_pay("k").await;
    sleep(WAIT / 2).await; // in the middle of its patience
    assert!(!waiter.is_answered());
    two.gate.open();
    let answer = two.running.answer().await;
    assert_paid(&answer, 1, 1);
    let recorded = Instant::now();
    assert_replays(&waiter.answer().await, &answer);
    assert!(recorded.elapsed() <= Duration::from_millis(50), "{:?}", recorded.elapsed());
    assert_eq!(two.handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_request_of_a_process_looks_for_all_of_its_duplicates_and_writes_nothing() {
    let two = Two::new(WAIT).await;
    let mut waiters = Vec::new();
    for _ in 0..100 {
        waiters.push(two.second.begin_pay("k").await);
    }
    sleep(WAIT / 2).await; // in the middle of their patience
    let looks = two.store.calls(Step::Inspect);
    // One looks every 20 to 40 ms; a second one would make it twice as many.
    assert!((100..=270).contains(&looks), "{looks}");
    // The first asked for the lease, nobody else did, and nobody wrote.
    assert_eq!(two.store.calls(Step::Acquire), 1);
    two.gate.open();
    let answer = two.running.answer().await;
    for waiter in waiters {
        assert_replays(&waiter.answer().await, &answer);
    }
    assert_eq!(two.store.calls(Step::Acquire), 1);
    for step in [Step::Complete, Step::Renew, Step::Release, Step::Abandon] {
        assert_eq!(two.store.calls(step), 0, "{step:?}");
    }
}

/// CASES 16: patience is the waiter's own affair.
#[tokio::test(start_paused = true)]
async fn a_waiter_elsewhere_whose_patience_is_over_gets_409_and_the_owner_keeps_its_lease() {
    let two = Two::new(WAIT).await;
    for _ in 0..3 {
        let begun = Instant::now();
        let answer = two.second.pay("k").await;
        answer.assert_problem(409, "in_progress");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(begun.elapsed() >= WAIT && begun.elapsed() <= WAIT + Duration::from_millis(1));
    }
    assert!(matches!(two.owner.state("k").await, KeyState::Leased { attempt: 1, .. }));
    two.gate.open();
    let answer = two.running.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&two.second.pay("k").await, &answer);
}

#[tokio::test(start_paused = true)]
async fn no_patience_elsewhere_is_409_at_once() {
    let two = Two::new(Duration::ZERO).await;
    let begun = Instant::now();
    two.second.pay("k").await.assert_problem(409, "in_progress");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(two.store.calls(Step::Inspect), 0);
    two.gate.open();
    assert_paid(&two.running.answer().await, 1, 1);
}

/// CASES 16: the patience of one ends, another goes on looking for the rest.
#[tokio::test(start_paused = true)]
async fn waiters_with_patience_left_go_on_after_the_one_that_looked_gave_up() {
    let two = Two::new(WAIT).await;
    let first = two.second.begin_pay("k").await;
    sleep(WAIT / 2).await; // so that the others have half of their patience left then
    let mut patient = Vec::new();
    for _ in 0..10 {
        patient.push(two.second.begin_pay("k").await);
    }
    first.answer().await.assert_problem(409, "in_progress");
    let looks = two.store.calls(Step::Inspect);
    sleep(WAIT / 4).await; // in the middle of what is left
    assert!(two.store.calls(Step::Inspect) > looks);
    two.gate.open();
    let answer = two.running.answer().await;
    for waiter in patient {
        assert_replays(&waiter.answer().await, &answer);
    }
    // The one that went on asked once.
    assert_eq!(two.store.calls(Step::Acquire), 2);
}

/// CASES 16: a client that hangs up looks no further, and others go on.
#[tokio::test(start_paused = true)]
async fn waiters_go_on_after_the_client_of_the_one_that_looked_hung_up() {
    let two = Two::new(WAIT).await;
    let first = two.second.begin_pay("k").await;
    until(|| two.store.calls(Step::Acquire) == 1).await;
    let waiter = two.second.begin_pay("k").await;
    first.hang_up().await;
    sleep(WAIT / 2).await; // in the middle of its patience
    two.gate.open();
    assert_replays(&waiter.answer().await, &two.running.answer().await);

    let looks = two.store.calls(Step::Inspect);
    sleep(WAIT).await; // as long as anybody could look
    assert_eq!(two.store.calls(Step::Inspect), looks);
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_for_a_client_that_hung_up() {
    let two = Two::new(WAIT).await;
    let only = two.second.begin_pay("k").await;
    until(|| two.store.calls(Step::Acquire) == 1).await;
    only.hang_up().await;
    sleep(SOON).await; // longer than one look and its pause
    let looks = two.store.calls(Step::Inspect);
    sleep(WAIT).await; // as long as it would have looked
    assert_eq!(two.store.calls(Step::Inspect), looks);
    two.gate.open();
    assert_paid(&two.running.answer().await, 1, 1);
}

/// The patience of a whole crowd ends at the same instant: that is no burst of calls, and no queue.
#[tokio::test(start_paused = true)]
async fn a_crowd_whose_patience_ends_at_once_does_not_ask_the_store_one_by_one() {
    let two = Two::new(WAIT).await;
    let mut waiters = Vec::new();
    for _ in 0..100 {
        waiters.push(two.second.begin_pay("k").await);
    }
    let begun = Instant::now();
    // Each call would take its time.
    two.store.always(Step::Acquire, Fault::Slow(SOON));
    for waiter in waiters {
        waiter.answer().await.assert_problem(409, "in_progress");
    }
    assert!(begun.elapsed() <= WAIT + 3 * SOON, "{:?}", begun.elapsed());
    assert!(two.store.calls(Step::Acquire) <= 3, "{}", two.store.calls(Step::Acquire));
    two.gate.open();
    assert_paid(&two.running.answer().await, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn an_operation_given_up_elsewhere_is_taken_over_at_once() {
    let gate = Gate::new();
    let two = Two::with(WAIT, Handler::fails_once(&gate), gate).await;
    let waiter = two.second.begin_pay("k").await;
    sleep(WAIT / 2).await; // in the middle of its patience
    two.gate.open();
    assert_eq!(two.running.answer().await.text(), "the bank is closed");
    let released = Instant::now();
    assert_paid(&waiter.answer().await, 2, 2);
    assert!(released.elapsed() <= Duration::from_millis(50), "{:?}", released.elapsed());
}

/// CASES 52: and under `halt` it is told at once that the outcome is unknown.
#[tokio::test(start_paused = true)]
async fn an_operation_abandoned_elsewhere_under_halt_is_told_at_once() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let halting = |store| settings(store).on_abandoned(OnAbandoned::Halt);
    let owner = Process::with(halting(&store), &handler);
    let second = Process::with(halting(&other(&store)), &handler);
    let running = owner.begin_pay("k").await;
    gate.reached().await;
    let waiter = second.begin_pay("k").await;
    sleep(WAIT / 2).await; // in the middle of its patience
    gate.open();
    running.answer().await;
    let abandoned = Instant::now();
    waiter.answer().await.assert_problem(409, "outcome_unknown");
    assert!(abandoned.elapsed() <= Duration::from_millis(50), "{:?}", abandoned.elapsed());
    assert_eq!(handler.runs(), 1);
}

/// CASES 30: a store that is away for a moment does not end anybody's patience.
#[tokio::test(start_paused = true)]
async fn a_waiter_elsewhere_outlives_a_store_that_is_away_for_a_moment() {
    let two = Two::new(WAIT).await;
    let waiter = two.second.begin_pay("k").await;
    until(|| two.store.calls(Step::Acquire) == 1).await;
    two.store.always_all(&Fault::Unreachable);
    sleep(WAIT / 2).await; // half of its patience
    two.store.heal();
    two.gate.open();
    assert_replays(&waiter.answer().await, &two.running.answer().await);
}

/// A request that reuses the key is told before anybody waits.
#[tokio::test(start_paused = true)]
async fn another_request_with_a_key_that_runs_elsewhere_is_422_at_once() {
    let two = Two::new(WAIT).await;
    let waiter = two.second.begin_pay("k").await;
    let begun = Instant::now();
    two.second.send(pay_with("k").body("other")).await.assert_problem(422, "key_reused");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // The key goes to another request while the first waits: that is told too.
    assert!(two.owner.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());
    let other = two.second.begin(pay_with("k").body("other")).await;
    two.gate.reached().await;
    waiter.answer().await.assert_problem(422, "key_reused");
    two.gate.open();
    two.gate.open();
    assert_paid(&other.answer().await, 2, 1);
    two.running.answer().await.assert_problem(422, "key_reused");
}

/// CASES 27, 32: the same keys arrive at two processes at the same instant.
#[tokio::test(start_paused = true)]
async fn every_key_that_arrives_at_two_processes_at_once_is_executed_once() {
    const KEYS: usize = 1000;
    let store = faulty();
    let handler = Handler::pays();
    let processes = [Process::new(&store, &handler), Process::new(&other(&store), &handler)];
    let mut sent = Vec::new();
    for key in 0..KEYS {
        for process in processes.iter().chain(&processes) {
            sent.push((key, process.begin_pay(&key.to_string()).await));
        }
    }
    let mut answers: HashMap<usize, Vec<_>> = HashMap::new();
    for (key, sent) in sent {
        answers.entry(key).or_default().push(sent.answer().await);
    }
    for answers in answers.values() {
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    }
    assert_eq!(handler.runs(), KEYS);
}

/// CASES 27, 32: the same on several threads, with handlers that fail first. No paused time: tokio
/// pauses one thread only.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_key_that_is_hammered_on_several_threads_succeeds_once() {
    const KEYS: usize = 100;
    let (store, overlaps) = (faulty(), Arc::new(AtomicUsize::new(0)));
    let running: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let tally = Arc::clone(&overlaps);
    let handler = Handler::new(move |run| {
        let (running, overlaps) = (Arc::clone(&running), Arc::clone(&tally));
        async move {
            let key = run.attempt.downstream_key("bank");
            if *running.lock().unwrap().entry(key.clone()).and_modify(|n| *n += 1).or_insert(1) > 1
            {
                overlaps.fetch_add(1, Ordering::SeqCst);
            }
            for _ in 0..run.nth % 5 {
                tokio::task::yield_now().await;
            }
            *running.lock().unwrap().get_mut(&key).unwrap() -= 1;
            if run.attempt.number() <= 2 { failed() } else { run.paid() }
        }
    });
    let processes: [Arc<Process>; 2] = [
        Arc::new(Process::new(&store, &handler)),
        Arc::new(Process::new(&other(&store), &handler)),
    ];
    let mut tasks = Vec::new();
    for key in 0..KEYS {
        for process in processes.iter().cycle().take(8) {
            let process = Arc::clone(process);
            tasks.push(tokio::spawn(async move {
                loop {
                    let answer = process.pay(&key.to_string()).await;
                    if answer.status.is_success() {
                        return (key, answer);
                    }
                }
            }));
        }
    }
    let mut answers: HashMap<usize, Vec<_>> = HashMap::new();
    for task in tasks {
        let (key, answer) = task.await.unwrap();
        answers.entry(key).or_default().push(answer);
    }
    for answers in answers.values() {
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    }
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    assert_eq!(handler.runs(), 3 * KEYS);
}
