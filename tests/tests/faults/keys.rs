//! Keys by the client's own name: inspected, forgotten, expired; and a store that is merely slow.

use std::time::Duration;

use idempotent_runtime::{KeyState, Metadata, OnAbandoned, Resolution, StoreError};
use idempotent_tests::{Fault, Gate, Step, post};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, LEASE, NOBODY, PAY, Process, assert_paid, assert_replays, failed, faulty, in_time,
    other, pay_with, settings,
};

const TTL: Duration = Duration::from_hours(24);

#[tokio::test(start_paused = true)]
async fn inspect_tells_each_state_of_a_key() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let process = Process::new(&store, &handler);
    assert!(matches!(process.state("k").await, KeyState::Absent));
    let running = process.begin_pay("k").await;
    gate.reached().await;
    let KeyState::Leased { attempt: 1, expires_in, token, .. } = process.state("k").await else {
        panic!("not leased")
    };
    assert_eq!(expires_in, LEASE);
    gate.open();
    running.answer().await;
    let released = process.state("k").await;
    assert!(matches!(released, KeyState::Released { attempt: 1, token: t, .. } if t == token));
    let answer = process.pay("k").await;
    let KeyState::Completed { record, expires_in } = process.state("k").await else {
        panic!("not completed")
    };
    assert_eq!((record.body(), expires_in), (&answer.body, TTL));
    let &Metadata::Response { status, .. } = record.metadata() else { panic!("no response") };
    assert_eq!(status, answer.status);

    let halting = Process::with(
        settings(&other(&store)).on_abandoned(OnAbandoned::Halt),
        &Handler::new(|_| async { failed() }),
    );
    halting.pay("halted").await;
    assert!(matches!(halting.state("halted").await, KeyState::Abandoned { attempt: 1, .. }));
}

/// CASES 26: scope, operation and key are told apart, and nothing else names the operation.
#[tokio::test(start_paused = true)]
async fn a_key_is_found_by_scope_operation_and_key_only() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    process.send(post("/users/7/pay").key("k")).await;
    let runtime = &process.runtime;
    let found = runtime.inspect(&7u64, "scoped", "k").await.unwrap();
    assert!(matches!(found, KeyState::Completed { .. }));
    for (scope, operation, key) in [
        (Some(8), "scoped", "k"),
        (None, "scoped", "k"),
        (Some(7), "POST /users/{user}/pay", "k"),
        (Some(7), "scoped", "K"),
        (Some(7), "scopedk", ""),
    ] {
        let found = runtime.inspect(&scope, operation, key).await.unwrap();
        assert!(matches!(found, KeyState::Absent), "{scope:?} {operation} {key}");
        assert!(!runtime.forget(&scope, operation, key, true).await.unwrap());
    }
    assert!(runtime.forget(&Some(7u64), "scoped", "k", false).await.unwrap());
    assert_paid(&process.send(post("/users/7/pay").key("k")).await, 2, 1);
}

#[tokio::test(start_paused = true)]
async fn forget_lets_a_recorded_key_run_again_and_tells_whether_there_was_one() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    process.pay("k").await;
    assert!(process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap());
    assert!(!process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap());
    assert_paid(&process.pay("k").await, 2, 1);
}

/// CASES 44: forgetting a lease hands out no token twice, and its owner's outcome is not lost.
#[tokio::test(start_paused = true)]
async fn forget_refuses_a_live_lease_unless_it_is_forced() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let running = process.begin_pay("k").await;
    gate.reached().await;
    let KeyState::Leased { token: first, .. } = process.state("k").await else {
        panic!("not leased")
    };
    let refused = process.runtime.forget(&NOBODY, PAY, "k", false).await;
    assert!(matches!(refused, Err(StoreError::StillLeased)), "{refused:?}");
    assert!(matches!(process.state("k").await, KeyState::Leased { .. }));
    assert!(process.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());

    // Another process begins, so that two run: what `force` says. The first ends late.
    let elsewhere = Handler::gated(&gate);
    let second = Process::new(&other(&store), &elsewhere);
    let overlapping = second.begin_pay("k").await;
    gate.reached().await;
    let KeyState::Leased { token, attempt: 1, .. } = second.state("k").await else {
        panic!("not leased")
    };
    assert!(token > first);
    gate.open();
    gate.open();
    let (first, second) = (running.answer().await, overlapping.answer().await);
    assert_paid(&second, 1, 1);
    assert_replays(&first, &second);
}

/// CASES 44: the lease was forgotten and nobody else asked.
#[tokio::test(start_paused = true)]
async fn an_owner_whose_lease_was_forgotten_still_records_its_outcome() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let running = process.begin_pay("k").await;
    gate.reached().await;
    assert!(process.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());
    gate.open();
    let answer = running.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!(handler.runs(), 1);
}

/// CASES 34: concurrent retries at the very instant of expiry.
#[tokio::test(start_paused = true)]
async fn a_record_is_replayed_to_its_last_instant_and_at_its_end_one_retry_runs() {
    let (store, handler) = (faulty(), Handler::pays());
    let processes = [Process::new(&store, &handler), Process::new(&other(&store), &handler)];
    let answer = processes[0].pay("k").await;
    let recorded = Instant::now();
    // To the last millisecond of the record, and to its end.
    tokio::time::sleep_until(recorded + TTL - Duration::from_millis(1)).await;
    for process in &processes {
        assert_replays(&process.pay("k").await, &answer);
    }
    tokio::time::sleep_until(recorded + TTL).await;
    let mut retries = Vec::new();
    for process in processes.iter().cycle().take(20) {
        retries.push(process.begin_pay("k").await);
    }
    let mut fresh = 0;
    for retry in retries {
        let retry = retry.answer().await;
        assert_eq!(retry.text(), "payment 2, attempt 1");
        fresh += usize::from(!retry.is_replayed());
    }
    assert_eq!((fresh, handler.runs()), (1, 2));
}

/// CASES 34: the same for the end of a lease, with the owner completing at that instant.
#[tokio::test(start_paused = true)]
async fn at_the_instant_a_lease_ends_its_owner_and_a_retry_agree_on_one_answer() {
    for owner_first in [true, false] {
        let store = faulty();
        let paused = crate::support::Paused::new(&store).await;
        let handler = Handler::pays();
        let process = Process::new(&store, &handler);
        let retry = if owner_first {
            paused.gate.open();
            process.begin_pay("k").await
        } else {
            let retry = process.begin_pay("k").await;
            paused.gate.open();
            retry
        };
        let (owner, retry) = (paused.request.answer().await, retry.answer().await);
        assert_eq!((owner.status, &owner.body), (retry.status, &retry.body));
        assert_replays(&process.pay("k").await, &owner);
    }
}

/// CASES 31: every call takes its time, and a call of the heartbeat overlaps that of the claim.
#[tokio::test(start_paused = true)]
async fn a_slow_store_delays_and_changes_nothing() {
    let (store, handler) = (
        faulty(),
        Handler::new(|run| async move {
            sleep(3 * LEASE).await; // a handler longer than its lease
            run.paid()
        }),
    );
    let slow = Fault::Slow(Duration::from_millis(900));
    store.always_all(&slow);
    let process = Process::new(&store, &handler);
    let second_store = other(&store);
    second_store.always_all(&slow);
    let patient = settings(&second_store).wait(4 * LEASE);
    let second = Process::with(patient, &handler);
    let begun = Instant::now();
    let mut sent = Vec::new();
    for process in [&process, &second].into_iter().cycle().take(10) {
        sent.push(process.begin_pay("k").await);
    }
    let mut answers = Vec::new();
    for sent in sent {
        answers.push(in_time(sent.answer()).await);
    }
    let paid: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(paid.iter().all(|answer| answer.text() == "payment 1, attempt 1"), "{answers:?}");
    assert_eq!(paid.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    assert!(begun.elapsed() < 3 * LEASE + Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(handler.runs(), 1);
    assert_replays(&process.pay("k").await, paid[0]);
}

/// CASES 31: two calls of one claim are in flight at once: the first is slower than `store_timeout`.
#[tokio::test(start_paused = true)]
async fn a_first_try_that_arrives_after_the_second_was_granted_changes_nothing() {
    let (store, gate, late) = (faulty(), Gate::new(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Late(late.clone()));
    let running = process.begin_pay("k").await;
    gate.reached().await; // by the second try
    late.open();
    tokio::task::yield_now().await;
    let state = process.state("k").await;
    assert!(matches!(state, KeyState::Leased { attempt: 1, .. }), "{state:?}");
    gate.open();
    let answer = running.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
    process.send(pay_with("k").body("other")).await.assert_problem(422, "key_reused");
}

/// CASES 43: nor does it when it arrives after everything has ended.
#[tokio::test(start_paused = true)]
async fn a_first_try_that_arrives_after_completion_changes_nothing() {
    let (store, handler, late) = (faulty(), Handler::pays(), Gate::new());
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Late(late.clone()));
    let answer = process.pay("k").await;
    assert_paid(&answer, 1, 1);
    late.open();
    tokio::task::yield_now().await;
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!((handler.runs(), store.calls(Step::Acquire)), (1, 3));
}

/// CASES 84: an operator copies the key from a request, where the draft has it in quotes.
#[tokio::test(start_paused = true)]
async fn an_operator_gives_the_key_as_the_client_sent_it() {
    let (store, handler) = (faulty(), Handler::new(|_| async { failed() }));
    let halting = settings(&store).on_abandoned(OnAbandoned::Halt);
    let process = Process::with(halting, &handler);
    let runtime = &process.runtime;
    for (key, sent) in [("a b\"c", r#""a b\"c""#), ("plain", r#""plain""#), ("bare", "bare")] {
        let sent_with_space = format!(" {sent} ");
        for (nth, given) in [key, sent, &sent_with_space].into_iter().enumerate() {
            if nth == 2 && key == "bare" {
                continue; // a bare key with spaces is another key
            }
            process.send(pay_with(sent)).await;
            let state = runtime.inspect(&NOBODY, PAY, given).await.unwrap();
            assert!(matches!(state, KeyState::Abandoned { .. }), "{given}: {state:?}");
            runtime.resolve(&NOBODY, PAY, given, Resolution::Rerun).await.unwrap();
            assert!(runtime.forget(&NOBODY, PAY, given, false).await.unwrap(), "{given}");
            assert!(!runtime.forget(&NOBODY, PAY, given, false).await.unwrap(), "{given}");
        }
    }
}
