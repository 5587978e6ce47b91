//! `on_abandoned = halt`: what may have had its effect is never run again unasked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, header};
use idempotent_runtime::{
    DoNotRecord, Idempotency, KeyState, NoEffect, OnAbandoned, Resolution, ResolveError,
    ResolvedAnswer, idempotent,
};
use idempotent_tests::{Fault, Faulty, Gate, Step, post};
use tokio::time::{Instant, sleep};

use axum::{
    Extension, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post as on_post,
};

use crate::support::{
    Handler, LEASE, NOBODY, PAY, Paused, Process, assert_paid, assert_replays, failed, faulty,
    settings, until,
};

fn halting(store: &Faulty, handler: &Handler) -> Process {
    Process::with(settings(store).on_abandoned(OnAbandoned::Halt), handler)
}

/// A handler whose first execution answers what `first` says, or panics there.
fn begins_with(first: fn() -> Response) -> Handler {
    Handler::new(move |run| async move { if run.nth == 1 { first() } else { run.paid() } })
}

/// CASES 52: the effect may have happened before the 5xx.
#[tokio::test(start_paused = true)]
async fn under_halt_a_transient_answer_abandons_the_key_at_once() {
    let transient: [fn() -> Response; 2] =
        [failed, || (StatusCode::NOT_FOUND, DoNotRecord, "not yet").into_response()];
    for first in transient {
        let (store, handler) = (faulty(), begins_with(first));
        let process = halting(&store, &handler);
        process.pay("k").await;
        let begun = Instant::now();
        assert!(matches!(process.state("k").await, KeyState::Abandoned { attempt: 1, .. }));
        let retry = process.pay("k").await;
        retry.assert_problem(409, "outcome_unknown");
        assert_eq!(retry.header("retry-after"), "");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!((handler.runs(), store.calls(Step::Release)), (1, 0));
    }
}

/// CASES 30, 52: a store that is away then is told later, and is told the same.
#[tokio::test(start_paused = true)]
async fn under_halt_a_key_that_cannot_be_abandoned_is_abandoned_later_and_never_released() {
    let (store, handler) = (faulty(), begins_with(failed));
    let process = halting(&store, &handler);
    store.always(Step::Abandon, Fault::Unreachable);
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    assert!(matches!(process.state("k").await, KeyState::Leased { .. }));
    store.heal();
    sleep(Duration::from_secs(1)).await; // by then the background has asked again
    assert!(matches!(process.state("k").await, KeyState::Abandoned { .. }));
    process.pay("k").await.assert_problem(409, "outcome_unknown");
    assert_eq!((handler.runs(), store.calls(Step::Release)), (1, 0));
}

/// CASES 28, 52: the panic goes on to its caller, and the effect may have happened before it.
#[tokio::test(start_paused = true)]
async fn under_halt_a_panic_abandons_the_key_at_once() {
    for path in ["/pay", "/inline"] {
        let (store, handler) = (faulty(), begins_with(|| panic!("after the effect")));
        let process = halting(&store, &handler);
        let gate = Gate::new();
        store.next(Step::Acquire, Fault::Hold(gate.clone()));
        let first = process.begin(post(path).key("k")).await;
        gate.open();
        first.panic().await;
        process.send(post(path).key("k")).await.assert_problem(409, "outcome_unknown");
        assert_eq!((handler.runs(), store.calls(Step::Release)), (1, 0));
    }
}

/// CASES 52: a client that hangs up drops an inline handler, perhaps after its effect.
#[tokio::test(start_paused = true)]
async fn under_halt_a_dropped_inline_handler_abandons_the_key_at_once() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = halting(&store, &handler);
    let first = process.begin(post("/inline").key("k")).await;
    gate.reached().await;
    let waiter = process.begin(post("/inline").key("k")).await;
    first.hang_up().await;
    waiter.answer().await.assert_problem(409, "outcome_unknown");
    let begun = Instant::now();
    process.send(post("/inline").key("k")).await.assert_problem(409, "outcome_unknown");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!((handler.runs(), store.calls(Step::Release)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn under_halt_an_inline_request_dropped_before_its_handler_began_is_released() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::pays();
    let process = halting(&store, &handler);
    store.next(Step::Acquire, Fault::HoldAnswer(gate.clone()));
    let first = process.begin(post("/inline").key("k")).await;
    gate.reached().await;
    first.hang_up().await;
    gate.open();
    until(|| store.calls(Step::Release) == 1).await;
    assert_paid(&process.send(post("/inline").key("k")).await, 1, 2);
}

#[tokio::test(start_paused = true)]
async fn under_halt_an_answer_without_effect_frees_the_key() {
    let no_effect = || (StatusCode::SERVICE_UNAVAILABLE, NoEffect, "closed").into_response();
    let (store, handler) = (faulty(), begins_with(no_effect));
    let process = halting(&store, &handler);
    assert_eq!(process.pay("k").await.text(), "closed");
    assert!(matches!(process.state("k").await, KeyState::Absent));
    assert_paid(&process.pay("k").await, 2, 1);
}

/// CASES 81: by its definition nothing was applied, so there is nothing to decide.
#[tokio::test(start_paused = true)]
async fn under_halt_an_answer_that_says_try_again_frees_the_key() {
    let retryable: [fn() -> Response; 3] = [
        || StatusCode::TOO_MANY_REQUESTS.into_response(),
        || StatusCode::TOO_EARLY.into_response(),
        || StatusCode::REQUEST_TIMEOUT.into_response(),
    ];
    for first in retryable {
        let (store, handler) = (faulty(), begins_with(first));
        let process = halting(&store, &handler);
        process.pay("k").await;
        assert!(matches!(process.state("k").await, KeyState::Absent));
        assert_paid(&process.pay("k").await, 2, 1);
        assert_eq!(store.calls(Step::Abandon), 0);
    }
}

#[idempotent(key = header("Idempotency-Key"), ttl = "7 days", operation = "weekly", on_abandoned = halt)]
async fn weekly(State(runs): State<Arc<AtomicUsize>>) -> Response {
    match runs.fetch_add(1, Ordering::SeqCst) {
        0 => failed(),
        _ => StatusCode::CREATED.into_response(),
    }
}

/// CASES 83: a decision lasts as long as the operation's own record would, not as long as the
/// runtime's default.
#[tokio::test(start_paused = true)]
async fn what_was_decided_is_replayed_for_the_ttl_of_its_operation() {
    let (day, runs) = (Duration::from_hours(24), Arc::new(AtomicUsize::new(0)));
    let runtime = Idempotency::new(faulty());
    let app = Router::new()
        .route("/weekly", on_post(weekly))
        .layer(Extension(runtime.clone()))
        .with_state(Arc::clone(&runs));
    let ask = || post("/weekly").key("k").send(&app);
    ask().await;
    let state = runtime.inspect(&NOBODY, "weekly", "k").await.unwrap();
    let KeyState::Abandoned { operation, ttl, .. } = state else { panic!("{state:?}") };
    assert_eq!((operation.as_str(), ttl), ("weekly", 7 * day));
    let decided = Resolution::Record(ResolvedAnswer::new(StatusCode::OK).body("decided"));
    runtime.resolve(&NOBODY, "weekly", "k", decided).await.unwrap();
    sleep(day + Duration::from_hours(1)).await;
    assert_eq!(ask().await.text(), "decided");
    sleep(5 * day + Duration::from_hours(22)).await;
    assert_eq!((ask().await.text(), runs.load(Ordering::SeqCst)), ("decided", 1));
    sleep(Duration::from_hours(1)).await;
    assert_eq!((ask().await.status, runs.load(Ordering::SeqCst)), (StatusCode::CREATED, 2));
}

/// CASES 12, 52: neither the end of the lease nor that of the retention sets the key free.
#[tokio::test(start_paused = true)]
async fn under_halt_a_lost_process_leaves_the_outcome_unknown_until_it_is_resolved() {
    let (store, handler) = (faulty(), Handler::pays());
    let lost = Paused::with(&store, |settings| settings.on_abandoned(OnAbandoned::Halt)).await;
    let process = halting(&store, &handler);
    for _ in 0..3 {
        process.pay("k").await.assert_problem(409, "outcome_unknown");
        // Beyond the ttl, which is the retention of keys that are not under `halt`.
        sleep(Duration::from_hours(25)).await;
        process.runtime.purge_expired(100).await.unwrap();
    }
    assert_eq!((handler.runs(), lost.handler.runs()), (0, 1));
}

/// CASES 52: a person decides that it may run.
#[tokio::test(start_paused = true)]
async fn resolve_rerun_lets_the_next_request_run_as_a_new_attempt() {
    let (store, handler) = (faulty(), begins_with(failed));
    let process = halting(&store, &handler);
    process.pay("k").await;
    process.runtime.resolve(&NOBODY, PAY, "k", Resolution::Rerun).await.unwrap();
    let answer = process.pay("k").await;
    assert!(answer.text().starts_with("payment 2, attempt "), "{answer:?}");
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!(handler.runs(), 2);
}

/// CASES 52: a person decides what the answer is.
#[tokio::test(start_paused = true)]
async fn resolve_record_answers_every_retry_and_runs_nothing() {
    let (store, handler) = (faulty(), begins_with(failed));
    let process = halting(&store, &handler);
    process.pay("k").await;
    let answer = ResolvedAnswer::new(StatusCode::CREATED)
        .header(header::LOCATION, "/payments/7".parse().unwrap())
        .body("payment 7");
    process.runtime.resolve(&NOBODY, PAY, "k", Resolution::Record(answer)).await.unwrap();
    for _ in 0..2 {
        let retry = process.pay("k").await;
        assert!(retry.is_replayed());
        assert_eq!((retry.status, retry.text()), (StatusCode::CREATED, "payment 7"));
        assert_eq!(retry.header("location"), "/payments/7");
    }
    assert_eq!(handler.runs(), 1);
}

/// CASES 52: a paused owner that was not dead answers what the person decided.
#[tokio::test(start_paused = true)]
async fn an_owner_that_ends_after_its_operation_was_resolved_answers_what_was_decided() {
    let store = faulty();
    let paused = Paused::with(&store, |settings| settings.on_abandoned(OnAbandoned::Halt)).await;
    let answer = Resolution::Record(ResolvedAnswer::new(StatusCode::OK).body("decided"));
    paused.process.runtime.resolve(&NOBODY, PAY, "k", answer).await.unwrap();
    let late = paused.end().await;
    assert_eq!((late.text(), late.is_replayed()), ("decided", true));
}

#[tokio::test(start_paused = true)]
async fn resolve_refuses_what_is_running_ended_released_or_unknown() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::fails_once(&gate);
    let process = Process::new(&store, &handler);
    let decisions =
        || [Resolution::Rerun, Resolution::Record(ResolvedAnswer::new(StatusCode::OK).body("no"))];
    let refuses = async || {
        for decision in decisions() {
            let resolved = process.runtime.resolve(&NOBODY, PAY, "k", decision).await;
            assert!(matches!(resolved, Err(ResolveError::NotAbandoned)), "{resolved:?}");
        }
    };
    refuses().await;
    let running = process.begin_pay("k").await;
    gate.reached().await;
    refuses().await;
    gate.open();
    running.answer().await;
    refuses().await; // released
    let answer = process.pay("k").await;
    assert_paid(&answer, 2, 2);
    refuses().await;
    assert_replays(&process.pay("k").await, &answer);
}

/// CASES 30, 52: the store goes away between the two steps of a decision.
#[tokio::test(start_paused = true)]
async fn a_resolution_that_failed_half_way_leaves_the_outcome_unknown_for_as_long_as_it_takes() {
    for step in [Step::Release, Step::Complete] {
        for fault in [Fault::Unreachable, Fault::Hang] {
            let (store, handler) = (faulty(), begins_with(failed));
            let process = halting(&store, &handler);
            process.pay("k").await;
            store.always(step, fault);
            let decision = match step {
                Step::Release => Resolution::Rerun,
                _ => Resolution::Record(ResolvedAnswer::new(StatusCode::OK)),
            };
            let decided = process.runtime.resolve(&NOBODY, PAY, "k", decision);
            let resolved = crate::support::in_time(decided).await;
            assert!(matches!(resolved, Err(ResolveError::Store(_))), "{resolved:?}");
            store.heal();
            // Beyond the lease that the decision took, and beyond every ttl.
            sleep(LEASE + Duration::from_hours(100)).await;
            process.pay("k").await.assert_problem(409, "outcome_unknown");
            process.runtime.resolve(&NOBODY, PAY, "k", Resolution::Rerun).await.unwrap();
            assert_eq!(process.pay("k").await.status, StatusCode::CREATED);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn under_rerun_a_panic_or_a_5xx_releases_the_key_at_once() {
    let endings: [fn() -> Response; 2] = [failed, || panic!("safe to repeat")];
    for first in endings {
        let (store, gate) = (faulty(), Gate::new());
        let handler = begins_with(first);
        let process = Process::new(&store, &handler);
        store.next(Step::Acquire, Fault::Hold(gate.clone()));
        let ends = process.begin_pay("k").await;
        gate.open();
        until(|| ends.is_answered()).await;
        let begun = Instant::now();
        assert_paid(&process.pay("k").await, 2, 2);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
