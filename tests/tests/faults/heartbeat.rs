//! Leases are renewed while handlers run, and their loss is told.

use std::time::Duration;

use axum::response::IntoResponse as _;
use idempotent_runtime::{KeyState, OnRecordFailure, StepError, StepRefusal};
use idempotent_tests::{Fault, Gate, Step};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::support::{
    Handler, LEASE, NOBODY, PAY, Process, SOON, WAIT, assert_paid, assert_replays, faulty, other,
    settings, until,
};

/// A handler that tells when its lease was lost, and pays when the gate is opened.
fn tells_of_loss(gate: &Gate) -> (Handler, mpsc::UnboundedReceiver<Instant>) {
    let (tell, told) = mpsc::unbounded_channel();
    let gate = gate.clone();
    let handler = Handler::new(move |run| {
        let (tell, gate, attempt) = (tell.clone(), gate.clone(), run.attempt.clone());
        tokio::spawn(async move {
            attempt.lease_lost().await;
            tell.send(Instant::now()).unwrap();
        });
        async move {
            gate.pass().await;
            run.paid()
        }
    });
    (handler, told)
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_at_every_third_of_it() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let begun = Instant::now();
    let request = process.begin_pay("k").await;
    gate.reached().await;
    for beat in 1..=10u32 {
        // To the instant before the beat, and to the beat.
        sleep_until(begun + beat * LEASE / 3 - Duration::from_millis(1)).await;
        assert_eq!(store.calls(Step::Renew), beat as usize - 1);
        sleep_until(begun + beat * LEASE / 3).await;
        until(|| store.calls(Step::Renew) == beat as usize).await;
    }
    gate.open();
    assert_paid(&request.answer().await, 1, 1);
    // The beat stops with the handler.
    sleep(LEASE).await;
    assert_eq!(store.calls(Step::Renew), 10);
}

/// CASES 1: a handler that takes longer than its lease is not an orphan.
#[tokio::test(start_paused = true)]
async fn a_handler_longer_than_several_leases_keeps_its_lease() {
    let (store, gate) = (faulty(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::new(&store, &handler);
    let elsewhere = Handler::pays();
    let second = Process::with(settings(&other(&store)).wait(SOON), &elsewhere);
    let request = process.begin_pay("k").await;
    gate.reached().await;
    for _ in 0..10 {
        // Half a lease, ten times.
        sleep(LEASE / 2).await;
        second.pay("k").await.assert_problem(409, "in_progress");
    }
    assert!(lost.try_recv().is_err());
    gate.open();
    let answer = request.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&second.pay("k").await, &answer);
    assert_eq!((handler.runs(), elsewhere.runs()), (1, 0));
}

/// CASES 8: sub-second leases are neither none nor for ever.
#[tokio::test(start_paused = true)]
async fn a_lease_of_milliseconds_is_renewed_and_runs_out_in_milliseconds() {
    let lease = Duration::from_millis(90);
    let (store, gate) = (faulty(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::with(settings(&store).lease(lease), &handler);
    let request = process.begin_pay("k").await;
    gate.reached().await;
    sleep(20 * lease).await; // twenty leases
    assert!(matches!(process.state("k").await, KeyState::Leased { .. }));
    assert!(lost.try_recv().is_err());
    store.always(Step::Renew, Fault::Unreachable);
    sleep(lease).await; // the last of them
    assert!(matches!(process.state("k").await, KeyState::Abandoned { .. }));
    assert!(lost.recv().await.is_some());
    gate.open();
    assert_paid(&request.answer().await, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_tells_the_handler_that_its_lease_is_lost() {
    let (store, gate) = (faulty(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::new(&store, &handler);
    let begun = Instant::now();
    let request = process.begin_pay("k").await;
    gate.reached().await;
    assert!(process.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());
    let told = lost.recv().await.unwrap();
    assert_eq!(told - begun, LEASE / 3);
    // No more beats for a lease that is another's.
    sleep(LEASE).await;
    assert_eq!(store.calls(Step::Renew), 1);
    gate.open();
    assert_paid(&request.answer().await, 1, 1);
}

/// CASES 50: cut off from the store, a process may hold its lease no longer than it surely does.
#[tokio::test(start_paused = true)]
async fn a_process_cut_off_counts_its_lease_from_before_the_grant_was_asked_for() {
    let (store, gate, slow) = (faulty(), Gate::new(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::new(&store, &handler);
    store.next(Step::Acquire, Fault::Hold(slow.clone()));
    let asked = Instant::now();
    let _request = process.begin_pay("k").await;
    // The grant takes a second and a half to come.
    sleep(Duration::from_millis(1500)).await;
    slow.open();
    gate.reached().await;
    store.always_all(&Fault::Unreachable);
    assert_eq!(lost.recv().await.unwrap() - asked, LEASE);
}

/// CASES 50: the same for a renewal.
#[tokio::test(start_paused = true)]
async fn a_process_cut_off_counts_its_lease_from_before_its_last_renewal_was_sent() {
    let (store, gate, slow) = (faulty(), Gate::new(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::new(&store, &handler);
    let begun = Instant::now();
    let _request = process.begin_pay("k").await;
    gate.reached().await;
    store.next(Step::Renew, Fault::HoldAnswer(slow.clone()));
    store.always(Step::Renew, Fault::Unreachable);
    slow.reached().await;
    let sent = Instant::now();
    assert_eq!(sent - begun, LEASE / 3);
    // The answer takes a second and a half to come.
    sleep(Duration::from_millis(1500)).await;
    slow.open();
    assert_eq!(lost.recv().await.unwrap() - sent, LEASE);
}

/// CASES 30, 50: a connection that broke once is no lost lease.
#[tokio::test(start_paused = true)]
async fn one_failed_renewal_is_tried_again_within_the_lease() {
    for fault in [Fault::Unreachable, Fault::Hang, Fault::LoseAnswer] {
        let (store, gate) = (faulty(), Gate::new());
        let (handler, mut lost) = tells_of_loss(&gate);
        let process = Process::new(&store, &handler);
        let begun = Instant::now();
        let request = process.begin_pay("k").await;
        gate.reached().await;
        store.next(Step::Renew, fault);
        // Before the beat after the failed one: it was tried again in between.
        sleep_until(begun + 2 * LEASE / 3 - Duration::from_millis(1)).await;
        assert_eq!(store.calls(Step::Renew), 2);
        sleep(5 * LEASE).await;
        assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 1, .. }));
        assert!(lost.try_recv().is_err());
        gate.open();
        assert_paid(&request.answer().await, 1, 1);
    }
}

/// CASES 49: a handler that never ends does not block its key for ever.
#[tokio::test(start_paused = true)]
async fn a_hung_handler_blocks_its_key_no_longer_than_max_run_and_one_lease() {
    let max_run = 5 * LEASE;
    let (store, hung) = (faulty(), Gate::new());
    let gate = hung.clone();
    let handler = Handler::new(move |run| {
        let gate = gate.clone();
        async move {
            if run.nth == 1 {
                gate.pass().await;
            }
            run.paid()
        }
    });
    let process = Process::with(settings(&store).max_run(max_run).wait(2 * max_run), &handler);
    let begun = Instant::now();
    let first = process.begin_pay("k").await;
    hung.reached().await;
    // It waits for the hung handler until that has lost its lease, and then runs.
    let answer = process.pay("k").await;
    assert_paid(&answer, 2, 2);
    let blocked = begun.elapsed();
    assert!(blocked >= max_run && blocked <= max_run + LEASE, "{blocked:?}");

    // The hung handler ends after all, and learns the truth.
    hung.open();
    assert_replays(&first.answer().await, &answer);
    assert_eq!(handler.runs(), 2);
}

/// CASES 49: nobody took over, so the late outcome is the outcome.
#[tokio::test(start_paused = true)]
async fn a_handler_that_ends_after_max_run_records_its_outcome_when_nobody_took_over() {
    let max_run = LEASE;
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::with(settings(&store).max_run(max_run), &handler);
    let request = process.begin_pay("k").await;
    gate.reached().await;
    // Far beyond the end of its lease.
    sleep(max_run + 5 * LEASE).await;
    assert!(matches!(process.state("k").await, KeyState::Abandoned { attempt: 1, .. }));
    gate.open();
    let answer = request.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
}

/// CASES 49: `max_run` is for handlers that hang, not for outcomes that wait to be recorded.
#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_saved_keeps_its_lease_beyond_max_run() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = Process::with(settings(&store).max_run(LEASE), &handler);
    store.always(Step::Complete, Fault::Unreachable);
    assert_paid(&process.pay("k").await, 1, 1);
    sleep(5 * LEASE).await; // far beyond `max_run` and a lease
    assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 1, .. }));
    store.heal();
    let elsewhere = Handler::pays();
    let second = Process::with(settings(&other(&store)), &elsewhere);
    assert_eq!(second.pay("k").await.text(), "payment 1, attempt 1");
    assert_eq!(elsewhere.runs(), 0);
}

/// CASES 49: nor while a client is still held, although a renewal was passed over before its handler
/// ended.
#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_withheld_keeps_its_lease_beyond_max_run() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let withhold = settings(&store).on_record_failure(OnRecordFailure::Withhold).wait(4 * LEASE);
    let process = Process::with(withhold.max_run(LEASE / 2), &handler);
    let request = process.begin_pay("k").await;
    gate.reached().await;
    sleep(LEASE).await; // beyond `max_run`, within the lease that was renewed before it
    store.always(Step::Complete, Fault::Unreachable);
    gate.open();
    sleep(2 * LEASE).await; // the client is held; without renewals the lease would have run out
    assert!(matches!(process.state("k").await, KeyState::Leased { attempt: 1, .. }));
    store.heal();
    assert_paid(&request.answer().await, 1, 1);
    assert_eq!(handler.runs(), 1);
}

/// CASES 49: its outcome is being saved, which is no time to begin a second run.
#[tokio::test(start_paused = true)]
async fn duplicates_join_a_run_without_lease_that_has_ended_and_is_being_recorded() {
    let (store, gate, saving) = (faulty(), Gate::new(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::with(settings(&store).max_run(LEASE), &handler);
    let request = process.begin_pay("k").await;
    gate.reached().await;
    sleep(3 * LEASE).await; // far beyond the end of its lease
    store.next(Step::Complete, Fault::Hold(saving.clone()));
    gate.open();
    saving.reached().await;
    let duplicate = process.begin_pay("k").await;
    saving.open();
    let answer = request.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&duplicate.answer().await, &answer);
    assert_eq!(handler.runs(), 1);
}

/// CASES 50: an answer to an older renewal that comes late takes nothing away.
#[tokio::test(start_paused = true)]
async fn renewals_answered_out_of_order_keep_the_later_deadline() {
    let lease = Duration::from_millis(900);
    let (store, gate, slow) = (faulty(), Gate::new(), Gate::new());
    let (handler, mut lost) = tells_of_loss(&gate);
    let process = Process::with(settings(&store).lease(lease), &handler);
    let begun = Instant::now();
    let _request = process.begin_pay("k").await;
    gate.reached().await;
    // The first beat's answer comes after that of the second, the last that reaches the store.
    store.next(Step::Renew, Fault::HoldAnswer(slow.clone()));
    sleep_until(begun + 2 * lease / 3 + Duration::from_millis(1)).await;
    assert_eq!(store.calls(Step::Renew), 2);
    store.always(Step::Renew, Fault::Unreachable);
    slow.open();
    assert_eq!(lost.recv().await.unwrap() - begun, 2 * lease / 3 + lease);
}

#[tokio::test(start_paused = true)]
async fn many_handlers_share_one_beat_and_each_keeps_its_lease() {
    let (store, gate) = (faulty(), Gate::new());
    let handler = Handler::gated(&gate);
    let process = Process::new(&store, &handler);
    let mut requests = Vec::new();
    for key in 0..50 {
        requests.push(process.begin_pay(&key.to_string()).await);
        gate.reached().await;
        // Their beats do not fall together.
        sleep(Duration::from_millis(137)).await;
    }
    sleep(WAIT + 2 * LEASE).await; // beyond every first lease
    assert_eq!(store.inner().usage().leased, 50);
    for request in requests {
        gate.open();
        assert!(request.answer().await.text().ends_with("attempt 1"));
    }
    assert_eq!(handler.runs(), 50);
}

/// What is renewed is told by its lease, not by the place that it has among the others.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_lost_lease_ends_no_other() {
    let (store, gate) = (faulty(), Gate::new());
    let process = Process::new(&store, &Handler::gated(&gate));
    let lost = process.begin_pay("lost").await;
    gate.reached().await;
    store.next(Step::Renew, Fault::LeaseLost);
    sleep_until(Instant::now() + LEASE / 3).await;
    until(|| store.calls(Step::Renew) == 1).await;
    // The next lease takes the place of the lost one, whose handler ends then.
    let kept = process.begin_pay("kept").await;
    gate.reached().await;
    gate.open();
    lost.answer().await;
    sleep(2 * LEASE).await;
    assert!(matches!(process.state("kept").await, KeyState::Leased { .. }));
    gate.open();
    assert_paid(&kept.answer().await, 2, 1);
}

/// The same for a renewal whose answer comes when its lease was settled.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_renewal_ends_no_other_lease() {
    let (store, gate, renewal) = (faulty(), Gate::new(), Gate::new());
    let process = Process::new(&store, &Handler::gated(&gate));
    let settled = process.begin_pay("settled").await;
    gate.reached().await;
    store.next(Step::Renew, Fault::Hold(renewal.clone()));
    sleep_until(Instant::now() + LEASE / 3).await;
    renewal.reached().await;
    gate.open();
    assert_paid(&settled.answer().await, 1, 1);
    let kept = process.begin_pay("kept").await;
    gate.reached().await;
    // The store says that the settled lease is no more.
    renewal.open();
    sleep(2 * LEASE).await;
    assert!(matches!(process.state("kept").await, KeyState::Leased { .. }));
    gate.open();
    assert_paid(&kept.answer().await, 2, 1);
}

/// CASES 79: whoever hears first that the lease is lost tells the handler, not only the next beat.
#[tokio::test(start_paused = true)]
async fn a_step_that_is_told_of_a_lost_lease_tells_the_handler_at_once() {
    // Before the step runs, and when it is saved.
    for runs in [false, true] {
        let (store, gate) = (faulty(), Gate::new());
        let steps = gate.clone();
        let handler = Handler::new(move |run| {
            let gate = steps.clone();
            async move {
                let begun = Instant::now();
                if !runs {
                    gate.pass().await;
                }
                let work = async {
                    if runs {
                        gate.pass().await;
                    }
                    Ok::<_, StepError>(7)
                };
                let refused = run.attempt.step("charge", work).await.unwrap_err();
                assert!(matches!(refused.reason(), StepRefusal::LeaseLost), "{refused}");
                run.attempt.lease_lost().await;
                assert_eq!(begun.elapsed(), Duration::ZERO);
                refused.into_response()
            }
        });
        let process = Process::new(&store, &handler);
        let request = process.begin_pay("k").await;
        gate.reached().await;
        assert!(process.runtime.forget(&NOBODY, PAY, "k", true).await.unwrap());
        gate.open();
        assert!(request.answer().await.status.is_server_error());
        assert_eq!(handler.runs(), 1);
    }
}
