//! What an operator reads: of each cause a line when it begins, one a minute, one when it ends; and of
//! each operation that somebody has to decide about.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use idempotent_runtime::{
    DoNotRecord, Idempotency, MemoryStore, NoEffect, OnAbandoned, OnStoreError, StepError,
    Store as _,
};
use idempotent_tests::{Fault, Gate, Logs, Request, Step, post};
use tokio::time::sleep;

use crate::support::{Handler, LEASE, Process, failed, faulty, settings, until};

/// With credentials, so that no hint at a scope is among the lines.
fn ask(path: &str, key: &str) -> Request {
    post(path).key(key).header("authorization", "ada")
}

async fn refused(process: &Process, requests: usize) {
    for nth in 0..requests {
        let answer = process.send(ask("/pay", &format!("refused-{nth}"))).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// CASES 82: one request whose `complete` fails for a while has two lines.
#[tokio::test(start_paused = true)]
async fn a_complete_that_fails_for_a_second_is_told_when_it_begins_and_when_it_ends() {
    let (store, handler) = (faulty(), Handler::pays());
    let (process, logs) = (Process::new(&store, &handler), Logs::new());
    store.always(Step::Complete, Fault::Unreachable);
    assert_eq!(process.send(ask("/pay", "k")).await.status, StatusCode::CREATED);
    assert!(store.calls(Step::Complete) > 10);
    store.heal();
    until_completed(&store).await;
    logs.assert_are(&[
        &["WARN", "POST /pay", "key=", "sent again", "failures=1", "connection refused"],
        &["WARN", "confirms outcomes again"],
    ]);
}

async fn until_completed(store: &idempotent_tests::Faulty) {
    sleep(Duration::from_secs(1)).await; // by then the background has asked again
    until(|| store.inner().usage().leased == 0).await;
}

/// CASES 88: a store that is away or full, under load.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_a_thousand_requests_has_a_line_a_minute_and_one_when_it_ends() {
    for (fault, begins, ends) in [
        (Fault::Unreachable, "the store cannot be asked", "answers again"),
        (Fault::Full, "the store has no room", "has room"),
    ] {
        let (store, handler) = (faulty(), Handler::pays());
        let (process, logs) = (Process::new(&store, &handler), Logs::new());
        store.always(Step::Acquire, fault);
        refused(&process, 1000).await;
        logs.assert_are(&[&["ERROR", "POST /pay", begins, "failures=1 "]]);
        sleep(Duration::from_mins(1)).await;
        refused(&process, 1000).await;
        store.heal();
        for _ in 0..10 {
            process.send(ask("/pay", "k")).await;
        }
        logs.assert_are(&[
            &["ERROR", begins, "failures=1 "],
            &["ERROR", begins, "failures=1000 "],
            &["WARN", ends, "failures=999"],
        ]);
    }
}

/// CASES 88: availability over safety is told no less, and no more.
#[tokio::test(start_paused = true)]
async fn requests_that_run_unguarded_have_one_line_when_it_begins_and_one_when_it_ends() {
    for fault in [Fault::Unreachable, Fault::Full] {
        let (store, handler) = (faulty(), Handler::pays());
        let settings = settings(&store).on_store_error(OnStoreError::Bypass);
        let (process, logs) = (Process::with(settings, &handler), Logs::new());
        store.always(Step::Acquire, fault);
        for nth in 0..100 {
            process.send(ask("/pay", &nth.to_string())).await;
        }
        store.heal();
        process.send(ask("/pay", "k")).await;
        logs.assert_are(&[
            &["ERROR", "POST /pay", "UNGUARDED", "failures=1 "],
            &["WARN", "guarded again", "failures=99"],
        ]);
        assert_eq!(handler.runs(), 101);
    }
}

/// CASES 88: two causes at once have lines of their own.
#[tokio::test(start_paused = true)]
async fn two_causes_at_once_do_not_disturb_each_other() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let (process, logs) = (Process::new(&store, &handler), Logs::new());
    let slow = process.begin(ask("/pay", "slow")).await;
    gate.reached().await;
    store.always(Step::Renew, Fault::Unreachable);
    store.always(Step::Acquire, Fault::Full);
    refused(&process, 10).await;
    sleep(LEASE / 2).await; // renewed at a third, then every tenth
    refused(&process, 10).await;
    store.heal();
    sleep(LEASE / 5).await;
    process.send(ask("/pay", "k")).await;
    logs.assert_are(&[
        &["ERROR", "the store has no room", "failures=1 "],
        &["WARN", "leases are not renewed", "failures=1 ", "connection refused"],
        &["WARN", "leases are renewed again"],
        &["WARN", "has room", "failures=19"],
    ]);
    gate.open();
    slow.answer().await;
}

/// CASES 88: a step that finds no room is no `ERROR` for each request.
#[tokio::test(start_paused = true)]
async fn steps_that_are_refused_have_one_line_when_it_begins_and_one_when_it_ends() {
    let store = faulty();
    let handler = Handler::new(|run| async move {
        match run.attempt.step("charge", async { Ok::<_, StepError>(7) }).await {
            Ok(_) => run.paid(),
            Err(error) => error.into_response(),
        }
    });
    let (process, logs) = (Process::new(&store, &handler), Logs::new());
    store.always(Step::SaveStep, Fault::Full);
    refused(&process, 100).await;
    store.heal();
    process.send(ask("/pay", "k")).await;
    logs.assert_are(&[
        &["WARN", "POST /pay", "the steps of handlers", "failures=1 "],
        &["WARN", "confirms steps again", "failures=99"],
    ]);
}

/// A handler whose only execution answers what `first` says, or panics.
fn answers(first: fn() -> Response) -> Handler {
    Handler::new(move |_| async move { first() })
}

const RESOLVE: &str = "Idempotency::resolve(scope, operation, key, Resolution::";

/// CASES 81: what stays abandoned is said, once, with what to do.
#[tokio::test(start_paused = true)]
async fn under_halt_an_operation_without_an_outcome_says_how_to_resolve_it() {
    let transient: [fn() -> Response; 2] =
        [failed, || (StatusCode::NOT_FOUND, DoNotRecord, "not yet").into_response()];
    for first in transient {
        for (path, operation) in [("/pay", "POST /pay"), ("/inline", "inline")] {
            let (store, handler) = (faulty(), answers(first));
            let halting = settings(&store).on_abandoned(OnAbandoned::Halt);
            let (process, logs) = (Process::with(halting, &handler), Logs::new());
            process.send(ask(path, "k")).await;
            process.send(ask(path, "k")).await.assert_problem(409, "outcome_unknown");
            logs.assert_are(&[&[
                "WARN",
                operation,
                "key=",
                RESOLVE,
                "NoEffect",
                "is not recorded",
            ]]);
        }
    }
}

/// CASES 81: a panic names its operation and key, and says that somebody has to decide.
#[tokio::test(start_paused = true)]
async fn under_halt_a_panic_names_its_operation_and_says_how_to_resolve_it() {
    for (path, operation) in [("/pay", "POST /pay"), ("/inline", "inline")] {
        let (store, gate) = (faulty(), Gate::new());
        let handler = answers(|| panic!("after the effect"));
        let halting = settings(&store).on_abandoned(OnAbandoned::Halt);
        let (process, logs) = (Process::with(halting, &handler), Logs::new());
        store.next(Step::Acquire, Fault::Hold(gate.clone()));
        let first = process.begin(ask(path, "k")).await;
        gate.open();
        first.panic().await;
        logs.assert_are(&[
            &["ERROR", operation, "key=", "a guarded handler panicked"],
            &["WARN", operation, "key=", RESOLVE, "its handler panicked"],
        ]);
    }
}

/// CASES 81: a client that hangs up drops an inline handler.
#[tokio::test(start_paused = true)]
async fn under_halt_a_dropped_handler_says_how_to_resolve_it() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let halting = settings(&store).on_abandoned(OnAbandoned::Halt);
    let (process, logs) = (Process::with(halting, &handler), Logs::new());
    let first = process.begin(ask("/inline", "k")).await;
    gate.reached().await;
    first.hang_up().await;
    until(|| store.calls(Step::Abandon) == 1).await;
    logs.assert_are(&[&["WARN", "inline", "key=", RESOLVE, "its handler was dropped"]]);
}

/// CASES 81: where nothing happened there is nothing to decide, and without `halt` neither.
#[tokio::test(start_paused = true)]
async fn what_may_run_again_asks_nobody() {
    let no_effect = || (StatusCode::SERVICE_UNAVAILABLE, NoEffect, "closed").into_response();
    let both: [(OnAbandoned, fn() -> Response); 2] =
        [(OnAbandoned::Halt, no_effect), (OnAbandoned::Rerun, failed)];
    for (on_abandoned, first) in both {
        let (store, handler) = (faulty(), answers(first));
        let settings = settings(&store).on_abandoned(on_abandoned);
        let (process, logs) = (Process::with(settings, &handler), Logs::new());
        process.send(ask("/pay", "k")).await;
        logs.assert_are(&[]);
    }
}

/// CASES 81: the line about a success without its transaction names operation and key.
#[tokio::test(start_paused = true)]
async fn a_success_that_was_not_committed_names_its_operation_and_key() {
    let store = faulty();
    let handler = Handler::new(|run| async move {
        run.attempt.recording().unwrap().begin();
        run.paid()
    });
    let (process, logs) = (Process::new(&store, &handler), Logs::new());
    process.send(ask("/pay", "k")).await.assert_problem(500, "not_committed");
    logs.assert_are(&[&["ERROR", "POST /pay", "key=", "was not committed"]]);
}

/// CASES 86: a handler that outlives `max_run` is told of once, however long it runs on.
#[tokio::test(start_paused = true)]
async fn a_handler_that_outlives_max_run_has_one_line() {
    for (path, operation) in [("/pay", "POST /pay"), ("/inline", "inline")] {
        let (store, gate) = (faulty(), Gate::new());
        let handler = Handler::gated(&gate);
        let settings = settings(&store).max_run(2 * LEASE);
        let (process, logs) = (Process::with(settings, &handler), Logs::new());
        let slow = process.begin(ask(path, "k")).await;
        gate.reached().await;
        sleep(LEASE).await;
        logs.assert_are(&[]);
        sleep(4 * LEASE).await;
        logs.assert_are(&[&["WARN", operation, "key=", "longer than max_run"]]);
        gate.open();
        slow.answer().await;
    }
}

/// CASES 89: a store that fills says so in time, twice, and again when it fills again.
#[tokio::test(start_paused = true)]
async fn a_memory_store_that_fills_warns_at_half_and_at_nine_tenths() {
    let store = MemoryStore::builder().budget(64 * 1024).build();
    let handler = Handler::pays();
    let settings = Idempotency::builder(store.clone()).ttl(Duration::from_hours(1));
    let (process, logs) = (Process::with(settings, &handler), Logs::new());
    let (process, keys) = (&process, AtomicUsize::new(0));
    let fill = async |percent: usize| {
        loop {
            let usage = store.usage();
            if usage.bytes * 100 >= usage.budget * percent {
                break;
            }
            sleep(Duration::from_secs(1)).await;
            let nth = keys.fetch_add(1, Ordering::Relaxed);
            process.send(ask("/pay", &nth.to_string())).await;
        }
    };
    let half: &[&str] = &["WARN", "keys=", "budget=65536", "percent=50", "full_in_seconds=", "ttl"];
    let nearly: &[&str] = &["WARN", "percent=90", "`MemoryStore::builder().budget(…)`"];
    fill(48).await;
    logs.assert_are(&[]);
    fill(80).await;
    logs.assert_are(&[half]);
    fill(95).await;
    logs.assert_are(&[half, nearly]);
    // About 310 bytes a second were taken, since four tenths and since eight.
    let said = |line: usize, field: &str| {
        let line = &logs.lines()[line];
        let value = line.split(&format!("{field}=")).nth(1).unwrap().split(' ').next().unwrap();
        value.parse::<f64>().unwrap()
    };
    assert!((250.0..400.0).contains(&said(0, "bytes_per_second")), "{:?}", logs.lines());
    assert!((80.0..140.0).contains(&said(0, "full_in_seconds")), "{:?}", logs.lines());
    assert!((10.0..35.0).contains(&said(1, "full_in_seconds")), "{:?}", logs.lines());
    sleep(Duration::from_hours(24)).await;
    store.purge_expired(usize::MAX).await.unwrap();
    fill(80).await;
    logs.assert_are(&[half, nearly, half]);
}
