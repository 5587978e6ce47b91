//! Functions that panic.

use idempotent_runtime::{Error, KeyState, OnAbandoned};
use idempotent_tests::Gate;

use crate::support::{Consumer, Work, all_wait, faulty, settings, shipment};

fn panics_once(gate: &Gate) -> Work {
    let gate = gate.clone();
    Work::new(move |run| {
        let gate = gate.clone();
        async move {
            if run.nth == 1 {
                gate.pass().await;
                panic!("after the effect");
            }
            run.shipped()
        }
    })
}

/// CASES 28: the panic goes on to its caller, and under `rerun` the key is free.
#[tokio::test(start_paused = true)]
async fn a_panic_goes_to_its_caller_and_those_who_waited_get_an_error() {
    let gate = Gate::new();
    let work = panics_once(&gate);
    let consumer = Consumer::new(faulty(), &work);
    let first = consumer.begin("e").await;
    gate.reached().await;
    let duplicate = consumer.begin("e").await;
    all_wait().await;
    gate.open();
    first.panic().await;
    let error = duplicate.outcome().await.unwrap_err().guard();
    assert!(matches!(error, Error::Panicked { operation: "ship" }), "{error:?}");
    assert_eq!((error.code(), error.retryable()), ("handler_panicked", true));
    assert!(matches!(consumer.state("e").await, KeyState::Released { .. }));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
}

/// CASES 52.
#[tokio::test(start_paused = true)]
async fn under_halt_a_panic_of_a_function_leaves_its_outcome_unknown() {
    let gate = Gate::new();
    gate.open();
    let work = panics_once(&gate);
    let consumer = Consumer::with(settings(faulty()).on_abandoned(OnAbandoned::Halt), &work);
    let call = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.call("e").await }
    });
    assert!(call.await.unwrap_err().is_panic());
    assert!(matches!(consumer.state("e").await, KeyState::Abandoned { .. }));
    assert_eq!(consumer.call("e").await.unwrap_err().guard().code(), "outcome_unknown");
    assert_eq!(work.runs(), 1);
}
