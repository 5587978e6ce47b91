//! A store that fails: nothing runs that may have run, and the error says why.

use std::{error::Error as _, sync::Arc, time::Duration};

use idempotent_runtime::{Error, MemoryStore, OnStoreError, StoreError};
use idempotent_tests::{Fault, Gate, Step};
use tokio::time::Instant;

use crate::support::{
    Call, Consumer, LEASE, ShipError, WAIT, Work, faulty, other, settings, shipment,
};

#[tokio::test(start_paused = true)]
async fn nothing_runs_while_the_store_is_away_and_the_error_has_its_reason() {
    let (store, work) = (faulty(), Work::ships());
    let consumer = Consumer::new(store.clone(), &work);
    store.always_all(&Fault::Unreachable);
    let error = consumer.call("e").await.unwrap_err().guard();
    let Error::StoreUnavailable { source: Some(source) } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, StoreError::Unavailable(_)));
    assert!(error.source().unwrap().is::<StoreError>());
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), "connection refused");
    assert_eq!((error.code(), error.retryable()), ("store_unavailable", true));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    store.heal();
    assert_eq!(work.runs(), 0);
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_and_nothing_runs() {
    let (store, work) = (faulty(), Work::ships());
    let consumer = Consumer::new(store.clone(), &work);
    store.always_all(&Fault::Hang);
    let begun = Instant::now();
    let error = consumer.call("e").await.unwrap_err().guard();
    let Error::StoreUnavailable { source: Some(source) } = error else { panic!("{error:?}") };
    assert!(matches!(*source, StoreError::Timeout));
    assert!(begun.elapsed() <= Duration::from_secs(4));
    assert_eq!(work.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn duplicates_of_a_call_that_could_not_ask_get_its_reason_too() {
    let (store, work) = (faulty(), Work::ships());
    let consumer = Consumer::new(store.clone(), &work);
    store.always_all(&Fault::Hang);
    let (first, duplicate) = (consumer.begin("e").await, consumer.begin("e").await);
    let source = async |call: Call| match call.outcome().await.unwrap_err().guard() {
        Error::StoreUnavailable { source: Some(source) } => source,
        error => panic!("{error:?}"),
    };
    assert!(Arc::ptr_eq(&source(first).await, &source(duplicate).await));
    assert_eq!(work.runs(), 0);
}

/// CASES 40.
#[tokio::test(start_paused = true)]
async fn an_unreadable_key_is_an_error_and_never_an_execution_not_even_with_bypass() {
    let (store, work) = (faulty(), Work::ships());
    let settings = settings(store.clone()).on_store_error(OnStoreError::Bypass);
    let consumer = Consumer::with(settings, &work);
    store.always(Step::Acquire, Fault::Corrupt);
    let error = consumer.call("e").await.unwrap_err().guard();
    assert!(matches!(error, Error::Unreadable { operation: "ship", .. }), "{error:?}");
    assert!(error.source().unwrap().to_string().contains("not readable"));
    assert_eq!((error.code(), error.retryable()), ("record_unreadable", false));
    assert_eq!(work.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_new_keys_and_replays_the_old_ones() {
    let work = Work::ships();
    let consumer = Consumer::new(MemoryStore::builder().budget(4096).build(), &work);
    let mut values = Vec::new();
    let error = loop {
        match consumer.call(&values.len().to_string()).await {
            Ok(value) => values.push(value),
            Err(error) => break error.guard(),
        }
    };
    assert!(matches!(error, Error::StoreFull), "{error:?}");
    assert_eq!((error.code(), error.retryable()), ("store_full", true));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    for (id, value) in values.iter().enumerate() {
        assert_eq!(consumer.call(&id.to_string()).await.unwrap(), *value);
    }
    assert_eq!(work.runs(), values.len());
}

#[tokio::test(start_paused = true)]
async fn under_bypass_a_function_runs_unguarded_while_the_store_is_away() {
    let work = Work::new(|run| async move {
        assert!(!run.attempt.is_guarded() && run.attempt.fencing_token().is_none());
        run.shipped()
    });
    let store = faulty();
    let settings = settings(store.clone()).on_store_error(OnStoreError::Bypass);
    let consumer = Consumer::with(settings, &work);
    store.always_all(&Fault::Unreachable);
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 1));
}

/// The caller has its value, and a repeated call gets it while it is still being recorded.
#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_recorded_is_given_after_a_second_and_recorded_later() {
    let (store, work) = (faulty(), Work::ships());
    let consumer = Consumer::new(store.clone(), &work);
    store.always(Step::Complete, Fault::Unreachable);
    let begun = Instant::now();
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
    assert!((1000..1100).contains(&begun.elapsed().as_millis()));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
    store.heal();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let elsewhere = Consumer::new(other(&store), &work);
    assert_eq!(elsewhere.call("e").await.unwrap(), shipment(1, 1));
    assert_eq!(work.runs(), 1);
}

/// A hung function keeps its key while its lease is renewed, and `max_running` bounds functions too.
#[tokio::test(start_paused = true)]
async fn functions_are_bounded_and_their_leases_renewed() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    let store = faulty();
    let consumer = Consumer::with(settings(store.clone()).max_running(1), &work);
    let running = consumer.begin("e").await;
    gate.reached().await;
    let error = consumer.call("another").await.unwrap_err().guard();
    assert_eq!((error.code(), error.retryable()), ("too_many_running", true));
    tokio::time::sleep(LEASE * 3).await;
    assert!(store.calls(Step::Renew) >= 3);
    let elsewhere = Consumer::new(other(&store), &work);
    let begun = Instant::now();
    assert!(matches!(elsewhere.call("e").await, Err(ShipError::Guard(Error::InProgress { .. }))));
    assert!(begun.elapsed() >= WAIT);
    gate.open();
    assert_eq!(running.outcome().await.unwrap(), shipment(1, 1));
}
