//! Fresh calls and repeated ones.

use idempotent_runtime::{Error, KeyState, MemoryStore, OnAbandoned};
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::{Instant, advance};

use crate::support::{
    Consumer, Event, ShipError, Work, all_wait, event, faulty, in_time, other, settings, shipment,
};

#[tokio::test(start_paused = true)]
async fn a_repeated_call_gets_the_value_of_the_first_and_has_no_effect() {
    let work = Work::ships();
    let in_memory = Consumer::new(MemoryStore::new(), &work);
    let store = faulty();
    let in_the_store = Consumer::new(store.clone(), &work);
    for (consumer, nth) in [(in_memory, 1), (in_the_store, 2)] {
        assert_eq!(consumer.call("e").await.unwrap(), shipment(nth, 1));
        assert_eq!(consumer.call("e").await.unwrap(), shipment(nth, 1));
        assert_eq!(work.runs(), nth);
    }
    let elsewhere = Consumer::new(other(&store), &work);
    assert_eq!(elsewhere.call("e").await.unwrap(), shipment(2, 1));
    assert_eq!(elsewhere.call("another").await.unwrap(), shipment(3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_replayed_until_its_ttl_and_not_at_it() {
    let work = Work::ships();
    let ttl = std::time::Duration::from_mins(5);
    let consumer = Consumer::with(settings(MemoryStore::new()).ttl(ttl), &work);
    consumer.call("e").await.unwrap();
    advance(ttl.checked_sub(std::time::Duration::from_nanos(1)).unwrap()).await;
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
    advance(std::time::Duration::from_nanos(1)).await;
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 1));
}

/// CASES 4: on every path, before anything waits, and whatever the state.
#[tokio::test(start_paused = true)]
async fn a_key_with_another_fingerprint_is_refused_in_every_state() {
    let gate = Gate::new();
    let work = Work::fails_once(&gate);
    let other_content = Event { id: "e".into(), amount: 2 };
    let (memory, store) = (Consumer::new(MemoryStore::new(), &work), faulty());
    for consumer in [memory, Consumer::new(store, &work)] {
        let refused = async || {
            let begun = Instant::now();
            let error = in_time(consumer.ship(&other_content)).await.unwrap_err().guard();
            assert!(matches!(error, Error::KeyReused { operation: "ship" }), "{error:?}");
            assert!(!error.retryable() && begun.elapsed().is_zero());
        };
        if work.runs() == 0 {
            let first = consumer.begin("e").await;
            gate.reached().await;
            refused().await; // running
            gate.open();
            assert!(matches!(first.outcome().await.unwrap_err(), ShipError::NoCarrier(1)));
            refused().await; // released
        }
        consumer.call("e").await.unwrap();
        refused().await; // completed
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_goes_to_its_caller_as_it_is_and_frees_the_key() {
    let gate = Gate::new();
    gate.open();
    let work = Work::fails_once(&gate);
    let consumer = Consumer::new(faulty(), &work);
    assert!(matches!(consumer.call("e").await.unwrap_err(), ShipError::NoCarrier(1)));
    assert!(matches!(consumer.state("e").await, KeyState::Released { attempt: 1, .. }));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
}

/// CASES 52: an error may come after the effect.
#[tokio::test(start_paused = true)]
async fn under_halt_an_error_abandons_the_key_unless_it_had_no_effect() {
    for no_effect in [false, true] {
        let work = Work::new(move |run| async move {
            if no_effect {
                run.attempt.no_effect();
            }
            if run.nth == 1 { Err(ShipError::NoCarrier(1)) } else { run.shipped() }
        });
        let store = faulty();
        let halting = settings(store.clone()).on_abandoned(OnAbandoned::Halt);
        let consumer = Consumer::with(halting, &work);
        assert!(matches!(consumer.call("e").await.unwrap_err(), ShipError::NoCarrier(1)));
        let again = consumer.call("e").await;
        if no_effect {
            // The key is free: a new life begins with attempt 1.
            assert_eq!(again.unwrap(), shipment(2, 1));
        } else {
            let error = again.unwrap_err().guard();
            assert!(matches!(error, Error::OutcomeUnknown { operation: "ship" }), "{error:?}");
            assert_eq!((work.runs(), store.calls(Step::Release)), (1, 0));
        }
    }
}

/// A duplicate finds what is recorded although the release of its predecessor got no answer.
#[tokio::test(start_paused = true)]
async fn an_error_that_cannot_be_released_is_given_and_released_later() {
    let gate = Gate::new();
    gate.open();
    let (store, work) = (faulty(), Work::fails_once(&gate));
    let consumer = Consumer::new(store.clone(), &work);
    store.always(Step::Release, Fault::Unreachable);
    let begun = Instant::now();
    assert!(matches!(consumer.call("e").await.unwrap_err(), ShipError::NoCarrier(1)));
    assert!(begun.elapsed() <= std::time::Duration::from_secs(2));
    store.heal();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await; // by then it was asked again
    assert!(matches!(consumer.state("e").await, KeyState::Released { .. }));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
}

/// A caller that was cut off while its value was being recorded cancels nothing.
#[tokio::test(start_paused = true)]
async fn a_value_is_recorded_although_its_caller_is_gone() {
    let (store, work, gate) = (faulty(), Work::ships(), Gate::new());
    let consumer = Consumer::new(store.clone(), &work);
    store.next(Step::Complete, Fault::Hold(gate.clone()));
    let gone = consumer.begin("e").await;
    gate.reached().await;
    gone.give_up().await;
    gate.open();
    all_wait().await;
    assert_eq!(consumer.ship(&event("e")).await.unwrap(), shipment(1, 1));
    assert_eq!(work.runs(), 1);
}
