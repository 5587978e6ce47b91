//! A lost lease is acquired once more, only to complete, by a store that fails at that too.

use std::time::Duration;

use idempotent_runtime::KeyState;
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::sleep;

use crate::support::{
    Handler, LEASE, NOBODY, PAY, Paused, Process, SOON, WAIT, assert_paid, assert_replays, faulty,
};

/// CASES 41: whoever took over gives the key back long after the owner's store calls would have
/// been given up.
#[tokio::test(start_paused = true)]
async fn a_late_owner_records_its_outcome_when_whoever_took_over_releases_in_the_end() {
    let (store, gate) = (faulty(), Gate::new());
    let elsewhere = Handler::fails_once(&gate);
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &elsewhere);
    let failing = process.begin_pay("k").await;
    gate.reached().await;

    // A store that takes its time, so that the last call needs some too.
    paused.store.always(Step::Complete, Fault::Slow(SOON));
    paused.gate.open();
    sleep(WAIT / 2).await;
    gate.open();
    assert_eq!(failing.answer().await.text(), "the bank is closed");
    let answer = paused.request.answer().await;
    assert_paid(&answer, 1, 1);
    assert_replays(&process.pay("k").await, &answer);
    assert_eq!((paused.handler.runs(), elsewhere.runs()), (1, 1));
}

/// CASES 43: the second `acquire` of the owner is granted and its answer lost.
#[tokio::test(start_paused = true)]
async fn a_late_owner_whose_second_grant_got_lost_is_not_locked_out_by_itself() {
    for fault in [Fault::LoseAnswer, Fault::ApplyThenHang] {
        let (store, elsewhere) = (faulty(), Handler::pays());
        let paused =
            Paused::with(&store, |settings| settings.store_timeout(Duration::from_millis(200)))
                .await;
        let process = Process::new(&store, &elsewhere);
        process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
        paused.store.next(Step::Acquire, fault);
        let answer = paused.end().await;
        assert_paid(&answer, 1, 1);
        assert_replays(&process.pay("k").await, &answer);
        assert_eq!(elsewhere.runs(), 0);
    }
}

/// CASES 14, 41: the lease was lost and regained, and then the record cannot be saved.
#[tokio::test(start_paused = true)]
async fn a_regained_lease_is_renewed_until_its_outcome_is_recorded() {
    let (store, elsewhere) = (faulty(), Handler::pays());
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &elsewhere);
    process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
    // Healthy but for the record: the first `complete` is refused, all others meet the fault.
    paused.store.heal();
    paused.store.next(Step::Complete, Fault::LeaseLost);
    paused.store.always(Step::Complete, Fault::Unreachable);
    paused.gate.open();
    paused.request.answer().await.assert_problem(503, "store_unavailable");

    for _ in 0..6 {
        // Half a lease, six times.
        sleep(LEASE / 2).await;
        assert!(matches!(process.state("k").await, KeyState::Leased { .. }));
    }
    process.pay("k").await.assert_problem(409, "in_progress");
    paused.store.heal();
    // By then the background has tried again.
    sleep(Duration::from_secs(3)).await;
    let recorded = process.pay("k").await;
    assert!(recorded.is_replayed());
    assert_eq!(recorded.text(), "payment 1, attempt 1");
    assert_eq!((paused.handler.runs(), elsewhere.runs()), (1, 0));
}

/// CASES 41: the same when the store went away altogether after it said that the lease is lost.
#[tokio::test(start_paused = true)]
async fn an_outcome_whose_lease_was_lost_before_the_store_went_away_is_recorded_in_the_end() {
    let (store, elsewhere) = (faulty(), Handler::pays());
    let paused = Paused::new(&store).await;
    let process = Process::new(&store, &elsewhere);
    process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
    paused.store.always(Step::Inspect, Fault::Unreachable);
    paused.store.always(Step::Acquire, Fault::Unreachable);
    paused.gate.open();
    paused.request.answer().await.assert_problem(503, "store_unavailable");
    paused.store.heal();
    // By then the background has tried again.
    sleep(Duration::from_secs(3)).await;
    let recorded = process.pay("k").await;
    assert!(recorded.is_replayed());
    assert_eq!(recorded.text(), "payment 1, attempt 1");
    assert_eq!((paused.handler.runs(), elsewhere.runs()), (1, 0));
}
