//! Calls whose process died, and those that nobody may repeat.

use idempotent_runtime::{Error, KeyState, OnAbandoned, Resolution, ResolvedAnswer};
use idempotent_tests::{Fault, Faulty, Gate, Step};

use crate::support::{Consumer, LEASE, NOBODY, SHIP, Work, faulty, other, settings, shipment};

/// A process that began `e` and was never heard of again.
async fn lost(store: &Faulty, halt: bool) {
    let (gate, store) = (Gate::new(), other(store));
    let choice = if halt { OnAbandoned::Halt } else { OnAbandoned::Rerun };
    store.always(Step::Renew, Fault::Unreachable);
    store.always(Step::Abandon, Fault::Unreachable);
    let consumer = Consumer::with(settings(store).on_abandoned(choice), &Work::gated(&gate));
    let call = consumer.begin("e").await;
    gate.reached().await;
    call.give_up().await;
    tokio::time::sleep(LEASE).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_call_takes_over_from_a_process_that_died() {
    let (store, work) = (faulty(), Work::ships());
    lost(&store, false).await;
    let consumer = Consumer::new(store, &work);
    assert!(matches!(consumer.state("e").await, KeyState::Abandoned { attempt: 1, .. }));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 2));
}

#[tokio::test(start_paused = true)]
async fn under_halt_nobody_takes_over_until_somebody_has_decided() {
    for rerun in [true, false] {
        let (store, work) = (faulty(), Work::ships());
        lost(&store, true).await;
        let halting = settings(store).on_abandoned(OnAbandoned::Halt);
        let consumer = Consumer::with(halting, &work);
        let error = consumer.call("e").await.unwrap_err().guard();
        assert!(matches!(error, Error::OutcomeUnknown { operation: "ship" }), "{error:?}");
        assert_eq!(
            (error.code(), error.retryable(), error.retry_after()),
            ("outcome_unknown", false, None)
        );
        let resolution = match rerun {
            true => Resolution::Rerun,
            false => Resolution::Record(ResolvedAnswer::value(&shipment(70, 7)).unwrap()),
        };
        consumer.runtime.resolve(&NOBODY, SHIP, "e", resolution).await.unwrap();
        let expected = if rerun { shipment(1, 3) } else { shipment(70, 7) };
        assert_eq!(consumer.call("e").await.unwrap(), expected);
    }
}

/// CASES 15, 41: a paused owner that wakes up gives the value of the attempt that replaced it.
#[tokio::test(start_paused = true)]
async fn a_late_owner_gives_the_value_of_whoever_took_over() {
    let (gate, store) = (Gate::new(), faulty());
    let cut_off = other(&store);
    cut_off.always(Step::Renew, Fault::Unreachable);
    let late = Consumer::new(cut_off, &Work::gated(&gate)).begin("e").await;
    gate.reached().await;
    tokio::time::sleep(LEASE).await;
    let work = Work::new(|run| async move { Ok(shipment(100, run.attempt.number())) });
    assert_eq!(Consumer::new(store, &work).call("e").await.unwrap(), shipment(100, 2));
    gate.open();
    assert_eq!(late.outcome().await.unwrap(), shipment(100, 2));
}
