//! `complete` fails, hangs, or loses its answer: the handler has run and must not run again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::IntoResponse as _,
};
use http::header;
use http_body_util::{BodyExt as _, Full};
use idempotent_runtime::{KeyState, OnRecordFailure};
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::{Instant, sleep};

use crate::support::{
    Handler, LEASE, Process, SOON, WAIT, assert_paid, assert_replays, faulty, other, settings,
    until,
};

/// How long a client is held while the store gives no answer.
const CONFIRM: Duration = Duration::from_secs(1);
/// By then a store that came back has been asked again.
const RECOVERED: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_was_lost_is_answered_once_and_replayed_to_the_retry() {
    for fault in [Fault::LoseAnswer, Fault::ApplyThenHang] {
        let (store, handler) = (faulty(), Handler::pays());
        let timeout = Duration::from_millis(300);
        let process = Process::with(settings(&store).store_timeout(timeout), &handler);
        store.next(Step::Complete, fault);
        let begun = Instant::now();
        let answer = process.pay("k").await;
        assert_paid(&answer, 1, 1);
        assert!(begun.elapsed() < timeout + SOON, "{:?}", begun.elapsed());
        assert_replays(&process.pay("k").await, &answer);
        assert_eq!(handler.runs(), 1);
    }
}

/// CASES 14: a failing save is not a failing handler.
#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_saved_is_answered_after_a_second_and_saved_later() {
    for fault in [Fault::Unreachable, Fault::Hang, Fault::Full, Fault::Corrupt] {
        let (store, handler) = (faulty(), Handler::pays());
        let process = Process::new(&store, &handler);
        let elsewhere = Process::with(settings(&other(&store)).wait(SOON), &handler);
        store.always(Step::Complete, fault);
        let begun = Instant::now();
        let answer = process.pay("k").await;
        assert_paid(&answer, 1, 1);
        assert!(begun.elapsed() >= CONFIRM && begun.elapsed() < CONFIRM + SOON);

        // Duplicates in this process get it meanwhile, others wait; nobody runs it again.
        for _ in 0..10 {
            // Half a lease, ten times: it is renewed as long as the record is not saved.
            sleep(LEASE / 2).await;
            assert_replays(&process.pay("k").await, &answer);
            elsewhere.pay("k").await.assert_problem(409, "in_progress");
            assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 1, .. }));
        }
        store.heal();
        sleep(RECOVERED).await;
        assert!(matches!(process.state("k").await, KeyState::Completed { .. }));
        assert_replays(&elsewhere.pay("k").await, &answer);
        assert_replays(&process.pay("k").await, &answer);
        assert_eq!(handler.runs(), 1);
    }
}

/// CASES 14: waiters of the very flight get the answer as early as its own client does.
#[tokio::test(start_paused = true)]
async fn waiters_of_a_record_that_cannot_be_saved_are_answered_with_its_client() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    let waiter = process.begin_pay("k").await;
    store.always(Step::Complete, Fault::Unreachable);
    gate.open();
    let ended = Instant::now();
    let first = first.answer().await;
    assert_paid(&first, 1, 1);
    assert_replays(&waiter.answer().await, &first);
    assert!(ended.elapsed() < CONFIRM + SOON);
}

/// CASES 14, 30: the store was away for longer than a lease and comes back between two tries to save.
#[tokio::test(start_paused = true)]
async fn an_answer_that_outlived_its_lease_unsaved_is_not_executed_again_by_this_process() {
    for choice in [OnRecordFailure::Answer, OnRecordFailure::Withhold] {
        let (store, gate) = (faulty(), Gate::new());
        let handler = Handler::gated(&gate);
        let process = Process::with(settings(&store).on_record_failure(choice), &handler);
        let first = process.begin_pay("k").await;
        gate.reached().await;
        store.always_all(&Fault::Unreachable);
        gate.open();
        let first = first.answer().await;
        // The store is away until the lease has long run out.
        sleep(2 * LEASE).await;
        let tried = store.calls(Step::Complete);
        store.heal();
        // At once, before the background has tried again.
        let retry = process.pay("k").await;
        match choice {
            OnRecordFailure::Answer => {
                assert_paid(&first, 1, 1);
                assert_eq!(store.calls(Step::Complete), tried);
                assert_replays(&retry, &first);
            }
            OnRecordFailure::Withhold => {
                first.assert_problem(503, "store_unavailable");
                assert_eq!(retry.text(), "payment 1, attempt 1");
                assert!(retry.is_replayed());
            }
        }
        assert_eq!(handler.runs(), 1);
    }
}

/// CASES 31: a store that takes longer than the client is held, but not longer than it may.
#[tokio::test(start_paused = true)]
async fn a_record_is_saved_by_a_store_slower_than_the_client_is_held() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::new(&store, &handler);
    // Not applied when it is cancelled before; `store_timeout` is 2 s.
    store.always(Step::Complete, Fault::Slow(Duration::from_millis(1500)));
    let answer = process.pay("k").await;
    assert_paid(&answer, 1, 1);
    sleep(2 * RECOVERED).await;
    assert!(matches!(process.state("k").await, KeyState::Completed { .. }));
    assert_replays(&process.pay("k").await, &answer);
}

#[tokio::test(start_paused = true)]
async fn withheld_answers_wait_for_the_store_up_to_wait_and_are_then_503() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let withhold = settings(&store).on_record_failure(OnRecordFailure::Withhold);
    let process = Process::with(withhold, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    store.always(Step::Complete, Fault::Unreachable);
    gate.open();
    let ended = Instant::now();
    first.answer().await.assert_problem(503, "store_unavailable");
    assert!(ended.elapsed() >= WAIT && ended.elapsed() < WAIT + SOON, "{:?}", ended.elapsed());

    // Not recorded, so not told to anybody either.
    process.pay("k").await.assert_problem(409, "in_progress");
    let waiter = process.begin_pay("k").await;
    store.heal();
    let recorded = waiter.answer().await;
    assert!(recorded.is_replayed());
    assert_eq!(recorded.text(), "payment 1, attempt 1");
    let again = process.pay("k").await;
    assert_eq!((again.status, again.body), (recorded.status, recorded.body));
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn withheld_answers_are_given_when_the_store_comes_back_in_time() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let withhold = settings(&store).on_record_failure(OnRecordFailure::Withhold);
    let process = Process::with(withhold, &handler);
    let first = process.begin_pay("k").await;
    gate.reached().await;
    store.always(Step::Complete, Fault::Unreachable);
    gate.open();
    // Well after `answer` would have answered, and before patience is over.
    sleep(WAIT / 2).await;
    assert!(!first.is_answered());
    store.heal();
    let first = first.answer().await;
    assert_paid(&first, 1, 1);
    assert_replays(&process.pay("k").await, &first);
}

const TICKS: &str = "data: tick\n\ndata: tick\n\n";

/// A handler that answers a stream, and tells whether anybody read of it.
fn streams(read: &Arc<AtomicBool>) -> Handler {
    let read = Arc::clone(read);
    Handler::new(move |_| {
        let read = Arc::clone(&read);
        let body = Full::new(Bytes::from_static(TICKS.as_bytes())).map_frame(move |frame| {
            read.store(true, Ordering::SeqCst);
            frame
        });
        let answer = ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(body));
        async move { answer.into_response() }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_tombstone_cannot_be_saved_is_503_and_not_a_byte_of_it_passes() {
    let (store, read) = (faulty(), Arc::<AtomicBool>::default());
    let handler = streams(&read);
    let process = Process::new(&store, &handler);
    store.always(Step::Complete, Fault::Unreachable);
    let answer = process.pay("k").await;
    answer.assert_problem(503, "store_unavailable");
    assert!(!read.load(Ordering::SeqCst));

    store.heal();
    sleep(RECOVERED).await;
    process.pay("k").await.assert_problem(409, "not_replayable");
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_passes_only_after_its_tombstone_is_saved() {
    let (store, read, gate) = (faulty(), Arc::<AtomicBool>::default(), Gate::new());
    let handler = streams(&read);
    let process = Process::new(&store, &handler);
    store.next(Step::Complete, Fault::Hold(gate.clone()));
    let first = process.begin_pay("k").await;
    gate.reached().await;
    assert!(!first.is_answered() && !read.load(Ordering::SeqCst));
    gate.open();
    let first = first.answer().await;
    assert_eq!(first.text(), TICKS);
    process.pay("k").await.assert_problem(409, "not_replayable");
    assert_eq!(handler.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_whose_answer_was_lost_still_lets_its_stream_pass() {
    let (store, read) = (faulty(), Arc::<AtomicBool>::default());
    let handler = streams(&read);
    let process = Process::new(&store, &handler);
    store.next(Step::Complete, Fault::LoseAnswer);
    assert_eq!(process.pay("k").await.text(), TICKS);
    process.pay("k").await.assert_problem(409, "not_replayable");
}

/// CASES 13: the client is gone before the record is saved.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_the_record_is_being_saved_cancels_nothing() {
    for path in ["/pay", "/inline"] {
        let (store, handler, gate) = (faulty(), Handler::pays(), Gate::new());
        let process = Process::new(&store, &handler);
        let request = || idempotent_tests::post(path).key("k");
        store.next(Step::Complete, Fault::Hold(gate.clone()));
        let gone = process.begin(request()).await;
        gate.reached().await;
        gone.hang_up().await;
        gate.open();
        until(|| store.inner().usage().leased == 0).await;
        let again = process.send(request()).await;
        assert!(again.is_replayed());
        assert_eq!(handler.runs(), 1);
    }
}
