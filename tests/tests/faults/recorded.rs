//! After a handler has recorded in its own transaction, only the store knows its outcome. Here the
//! "transaction" is a call of the store that the test makes or leaves out; real ones are in
//! `idempotent-sqlx`.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use idempotent_runtime::{Attempt, OnAbandoned, RecordError, Recorded, Store as _};
use idempotent_tests::{Fault, Faulty, Step};

use crate::support::{Handler, LEASE, Process, Run, failed, faulty, other, settings};

/// What the handler does with its transaction, and what it returns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Transaction {
    Committed,
    RolledBack,
}

/// Records `run`'s answer, and returns what `returns` makes of it.
async fn record(
    store: &Faulty,
    attempt: &Attempt,
    answer: Response,
    transaction: Transaction,
) -> Result<Recorded<Response>, RecordError> {
    let recording = attempt.recording().unwrap();
    recording.begin();
    let (record, answer) = recording.answer(answer).await?;
    if transaction == Transaction::Committed {
        let completed = store.inner().complete(recording.lease(), record, recording.ttl()).await;
        completed.map_err(|_| RecordError::LeaseLost)?;
    }
    Ok(answer)
}

fn recording(
    store: &Faulty,
    transaction: impl Fn(&Run) -> Transaction + Send + Sync + 'static,
    returns: impl Fn(Recorded<Response>) -> Response + Clone + Send + Sync + 'static,
) -> Handler {
    let store = store.clone();
    Handler::new(move |run| {
        let (store, transaction, returns) = (store.clone(), transaction(&run), returns.clone());
        async move {
            match record(&store, &run.attempt, run.paid(), transaction).await {
                Ok(recorded) => returns(recorded),
                Err(error) => error.into_response(),
            }
        }
    })
}

#[tokio::test]
async fn what_was_committed_is_answered_and_replayed() {
    let store = faulty();
    let handler = recording(
        &store,
        |_| Transaction::Committed,
        |answer| {
            // A header that no record has: the first sender's own answer is given as it is.
            ([("set-cookie", "a=b")], answer).into_response()
        },
    );
    let process = Process::new(&store, &handler);
    let first = process.pay("k").await;
    assert_eq!((first.status, first.header("set-cookie")), (StatusCode::CREATED, "a=b"));
    let again = process.pay("k").await;
    assert!(again.is_replayed());
    assert_eq!((again.text(), handler.runs()), (first.text(), 1));
    // Asked once what was committed, completed by nobody but the handler.
    assert_eq!((store.calls(Step::Complete), store.calls(Step::Release)), (0, 0));
}

#[tokio::test]
async fn success_without_a_commit_is_not_committed_and_may_run_again() {
    let store = faulty();
    let handler = recording(
        &store,
        |run| if run.nth == 1 { Transaction::RolledBack } else { Transaction::Committed },
        axum::response::IntoResponse::into_response,
    );
    let process = Process::new(&store, &handler);
    process.pay("k").await.assert_problem(500, "not_committed");
    assert_eq!(process.pay("k").await.text(), "payment 2, attempt 2");
}

#[tokio::test]
async fn a_failure_after_the_commit_is_answered_with_what_was_committed() {
    let store = faulty();
    let handler = recording(&store, |_| Transaction::Committed, |_| failed());
    let process = Process::new(&store, &handler);
    for replayed in [false, true] {
        let answer = process.pay("k").await;
        assert_eq!((answer.text(), answer.is_replayed()), ("payment 1, attempt 1", replayed));
    }
    assert_eq!(handler.runs(), 1);
}

/// Everybody gets one answer: the one that was committed, not one that was made up afterwards.
#[tokio::test]
async fn another_success_than_the_committed_one_is_not_answered() {
    let store = faulty();
    let handler = recording(&store, |_| Transaction::Committed, |_| "made up".into_response());
    let process = Process::new(&store, &handler);
    for _ in 0..2 {
        assert_eq!(process.pay("k").await.text(), "payment 1, attempt 1");
    }
}

#[tokio::test]
async fn a_panic_after_the_commit_is_answered_with_what_was_committed() {
    let store = faulty();
    let handler = recording(&store, |_| Transaction::Committed, |_| panic!("on purpose"));
    let process = Process::new(&store, &handler);
    assert_eq!(process.pay("k").await.text(), "payment 1, attempt 1");
    assert_eq!(handler.runs(), 1);
}

#[tokio::test]
async fn a_failure_with_a_rollback_is_the_handlers_own_answer() {
    let store = faulty();
    let handler = recording(&store, |_| Transaction::RolledBack, |_| failed());
    let process = Process::new(&store, &handler);
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    assert_eq!(process.pay("k").await.text(), "the bank is closed");
    assert_eq!(handler.runs(), 2);
}

/// A transient answer is not recorded: the transaction is not to be committed.
#[tokio::test]
async fn a_transient_answer_cannot_be_recorded() {
    let store = faulty();
    let (inner, bodies) = (store.clone(), [500_u16, 429, 503]);
    let handler = Handler::new(move |run| {
        let (store, status) = (inner.clone(), bodies[run.nth - 1]);
        async move {
            let answer = StatusCode::from_u16(status).unwrap().into_response();
            let recorded = record(&store, &run.attempt, answer, Transaction::Committed).await;
            let error = recorded.unwrap_err();
            assert!(matches!(error, RecordError::NotFinal(seen) if seen == status), "{error}");
            error.into_response()
        }
    });
    let process = Process::new(&store, &handler);
    for _ in bodies {
        process.pay("k").await.assert_problem(500, "not_committed");
    }
}

#[tokio::test]
async fn an_answer_past_the_bound_or_a_stream_cannot_be_recorded() {
    let store = faulty();
    let inner = store.clone();
    let handler = Handler::new(move |run| {
        let store = inner.clone();
        async move {
            let answer = match run.nth {
                1 => "x".repeat(2 * 1024 * 1024).into_response(),
                _ => ([("content-type", "text/event-stream")], "data: 1\n\n").into_response(),
            };
            let recorded = record(&store, &run.attempt, answer, Transaction::Committed).await;
            let error = recorded.unwrap_err();
            assert!(matches!(error, RecordError::NotRecordable { max: 1_048_576 }), "{error}");
            error.into_response()
        }
    });
    let process = Process::new(&store, &handler);
    for _ in 0..2 {
        process.pay("k").await.assert_problem(500, "not_committed");
    }
}

/// The store is silent when it is asked what was committed: nobody is told a success or a failure.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_after_the_commit_is_a_503_and_the_retry_gets_the_record() {
    for fault in [Fault::Unreachable, Fault::Hang] {
        let store = faulty();
        let handler = recording(
            &store,
            |_| Transaction::Committed,
            axum::response::IntoResponse::into_response,
        );
        let process = Process::new(&store, &handler);
        store.always(Step::Inspect, fault.clone());
        store.always(Step::Release, fault);
        process.pay("k").await.assert_problem(503, "store_unavailable");
        store.heal();
        let retry = process.pay("k").await;
        assert_eq!((retry.text(), retry.is_replayed()), ("payment 1, attempt 1", true));
        assert_eq!(handler.runs(), 1);
    }
}

/// Not committed and the store silent: the background gives the key back, and the retry runs.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_after_a_rollback_is_a_503_and_the_retry_runs() {
    let store = faulty();
    let handler = recording(
        &store,
        |run| if run.nth == 1 { Transaction::RolledBack } else { Transaction::Committed },
        axum::response::IntoResponse::into_response,
    );
    let process = Process::new(&store, &handler);
    store.always(Step::Inspect, Fault::Unreachable);
    process.pay("k").await.assert_problem(503, "store_unavailable");
    store.heal();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(process.pay("k").await.text(), "payment 2, attempt 2");
}

/// The lease was lost before the handler recorded: what the other process did is the answer.
#[tokio::test(start_paused = true)]
async fn a_lost_lease_answers_what_the_other_process_did() {
    let (store, gate) = (faulty(), idempotent_tests::Gate::new());
    let (inner, waits) = (store.clone(), gate.clone());
    let handler = Handler::new(move |run| {
        let (store, gate) = (inner.clone(), waits.clone());
        async move {
            if run.nth == 1 {
                gate.pass().await;
            }
            match record(&store, &run.attempt, run.paid(), Transaction::Committed).await {
                Ok(answer) => answer.into_response(),
                Err(error) => {
                    assert!(matches!(error, RecordError::LeaseLost), "{error}");
                    error.into_response()
                }
            }
        }
    });
    let (paused, healthy) =
        (Process::new(&store, &handler), Process::new(&other(&store), &handler));
    store.always(Step::Renew, Fault::Unreachable);
    let first = paused.begin_pay("k").await;
    gate.reached().await;
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(healthy.pay("k").await.text(), "payment 2, attempt 2");
    gate.open();
    assert_eq!(first.answer().await.text(), "payment 2, attempt 2");
}

/// Under `halt` nothing that may have had an effect is repeated.
#[tokio::test]
async fn under_halt_what_was_not_committed_is_abandoned() {
    let store = faulty();
    let handler =
        recording(&store, |_| Transaction::RolledBack, axum::response::IntoResponse::into_response);
    let process = Process::with(settings(&store).on_abandoned(OnAbandoned::Halt), &handler);
    process.pay("k").await.assert_problem(500, "not_committed");
    process.pay("k").await.assert_problem(409, "outcome_unknown");
    assert_eq!(handler.runs(), 1);
}
