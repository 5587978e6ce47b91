//! Calls with the key of one that runs.

use std::{pin::Pin, time::Duration};

use idempotent_runtime::{Error, Idempotency, KeyState, MemoryStore, idempotent_fn};
use idempotent_tests::Gate;
use tokio::time::Instant;

use crate::support::{
    Consumer, ShipError, WAIT, Work, all_wait, faulty, in_time, other, settings, shipment,
};

#[tokio::test(start_paused = true)]
async fn eight_at_once_run_once_and_share_the_value() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    for consumer in [Consumer::new(MemoryStore::new(), &work), Consumer::new(faulty(), &work)] {
        let before = work.runs();
        let mut calls = Vec::new();
        for _ in 0..8 {
            calls.push(consumer.begin("e").await);
        }
        gate.reached().await;
        all_wait().await;
        assert!(calls.iter().all(|call| !call.has_ended()));
        gate.open();
        for call in calls {
            assert_eq!(call.outcome().await.unwrap(), shipment(before + 1, 1));
        }
        assert_eq!(work.runs(), before + 1);
    }
}

/// CASES 16: and the owner keeps its lease.
#[tokio::test(start_paused = true)]
async fn a_duplicate_waits_as_long_as_it_may_and_is_told_when_to_come_back() {
    let (gate, store) = (Gate::new(), faulty());
    let work = Work::gated(&gate);
    let consumer = Consumer::new(store.clone(), &work);
    let first = consumer.begin("e").await;
    gate.reached().await;
    for duplicate in [&consumer, &Consumer::new(other(&store), &work)] {
        let begun = Instant::now();
        let error = duplicate.call("e").await.unwrap_err().guard();
        assert!(matches!(error, Error::InProgress { retry_after } if !retry_after.is_zero()));
        assert_eq!((error.code(), error.retryable()), ("in_progress", true));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        let late = begun.elapsed().checked_sub(WAIT).expect("it waited");
        assert!(late < Duration::from_millis(100), "{late:?}");
    }
    gate.open();
    assert_eq!(first.outcome().await.unwrap(), shipment(1, 1));
    assert_eq!(work.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_patience_a_duplicate_is_told_at_once() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    let consumer = Consumer::with(settings(MemoryStore::new()).wait(Duration::ZERO), &work);
    let first = consumer.begin("e").await;
    gate.reached().await;
    let begun = Instant::now();
    let error = consumer.call("e").await.unwrap_err().guard();
    assert!(matches!(error, Error::InProgress { .. }) && begun.elapsed().is_zero());
    gate.open();
    first.outcome().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_in_another_process_gets_the_value_when_it_is_there() {
    let (gate, store) = (Gate::new(), faulty());
    let work = Work::gated(&gate);
    let first = Consumer::new(store.clone(), &work).begin("e").await;
    gate.reached().await;
    let duplicate = Consumer::new(other(&store), &work).begin("e").await;
    all_wait().await;
    gate.open();
    assert_eq!(duplicate.outcome().await.unwrap(), shipment(1, 1));
    assert_eq!(first.outcome().await.unwrap(), shipment(1, 1));
}

/// Nobody shares an error: those who waited ask the store, one of them runs, the others share that.
#[tokio::test(start_paused = true)]
async fn after_an_error_one_of_those_who_waited_runs() {
    let gate = Gate::new();
    let work = Work::fails_once(&gate);
    for consumer in [Consumer::new(MemoryStore::new(), &work), Consumer::new(faulty(), &work)] {
        let before = work.runs();
        if before > 0 {
            continue; // both stores, one script each
        }
        let first = consumer.begin("e").await;
        gate.reached().await;
        let mut duplicates = Vec::new();
        for _ in 0..4 {
            duplicates.push(consumer.begin("e").await);
        }
        let begun = Instant::now();
        gate.open();
        assert!(matches!(first.outcome().await.unwrap_err(), ShipError::NoCarrier(1)));
        for duplicate in duplicates {
            assert_eq!(duplicate.outcome().await.unwrap(), shipment(2, 2));
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(work.runs(), 2);
    }
}

/// A duplicate that asks anew does not stand in its own way where the places to wait are counted.
#[tokio::test(start_paused = true)]
async fn whoever_waits_anew_gives_up_its_place_first() {
    let (fails, ships) = (Gate::new(), Gate::new());
    let work = Work::new({
        let (fails, ships) = (fails.clone(), ships.clone());
        move |run| {
            let (fails, ships) = (fails.clone(), ships.clone());
            async move {
                if run.nth == 1 {
                    fails.pass().await;
                    return Err(ShipError::NoCarrier(1));
                }
                ships.pass().await;
                run.shipped()
            }
        }
    });
    let consumer = Consumer::with(settings(MemoryStore::new()).max_waiters(1), &work);
    let first = consumer.begin("e").await;
    fails.reached().await;
    let waiting = consumer.begin("e").await;
    all_wait().await;
    // The first fails; before the one that waits is polled again, a third has begun.
    fails.open();
    let third = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.call("e").await }
    });
    ships.reached().await;
    all_wait().await;
    ships.open();
    assert!(matches!(first.outcome().await.unwrap_err(), ShipError::NoCarrier(1)));
    assert_eq!(third.await.unwrap().unwrap(), shipment(2, 2));
    assert_eq!(waiting.outcome().await.unwrap(), shipment(2, 2));
}

/// Each of those who waited runs at most once, one after the other.
#[tokio::test(start_paused = true)]
async fn where_every_execution_fails_every_caller_gets_an_error_of_its_own() {
    let gate = Gate::new();
    let work = Work::new({
        let gate = gate.clone();
        move |run| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Err(ShipError::NoCarrier(run.nth))
            }
        }
    });
    let consumer = Consumer::new(faulty(), &work);
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(consumer.begin("e").await);
    }
    for _ in 0..3 {
        gate.reached().await;
        all_wait().await;
        gate.open();
    }
    let mut failed = Vec::new();
    for call in calls {
        match call.outcome().await.unwrap_err() {
            ShipError::NoCarrier(nth) => failed.push(nth),
            ShipError::Guard(error) => panic!("{error:?}"),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [1, 2, 3]);
    assert!(matches!(consumer.state("e").await, KeyState::Released { attempt: 3, .. }));
}

/// CASES 27: on several threads, thousands of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_key_that_is_hammered_by_functions_on_several_threads_runs_once() {
    let work = Work::new(|run| async move {
        tokio::task::yield_now().await;
        run.shipped()
    });
    let consumer = Consumer::new(MemoryStore::new(), &work);
    let keys = 500;
    let calls: Vec<_> = (0..keys * 8)
        .map(|n| {
            let consumer = consumer.clone();
            tokio::spawn(async move { (n % keys, consumer.call(&(n % keys).to_string()).await) })
        })
        .collect();
    let mut values = vec![None; keys];
    for call in calls {
        let (key, outcome) = in_time(call).await.unwrap();
        let shipment = outcome.unwrap();
        assert_eq!(*values[key].get_or_insert_with(|| shipment.clone()), shipment);
    }
    assert_eq!(work.runs(), keys);
}

/// CASES 80: it would wait for itself.
#[tokio::test(start_paused = true)]
async fn a_function_that_calls_itself_with_its_own_key_is_told_at_once() {
    #[idempotent_fn(key = depth % 3, operation = "descends", runtime = runtime)]
    async fn descend(
        runtime: &Idempotency,
        other: Option<&Idempotency>,
        depth: u32,
    ) -> Result<String, Error> {
        // Another runtime has other keys.
        let (runtime, other) = match (other, depth) {
            (Some(other), 2) => (other, None),
            other => (runtime, other.0),
        };
        let below: Pin<Box<dyn Future<Output = _>>> = Box::pin(descend(runtime, other, depth + 1));
        match below.await {
            Ok(below) => Ok(format!("{depth} {below}")),
            Err(error) => Ok(format!("{depth} {}", error.code())),
        }
    }
    let [runtime, other, third] = [(); 3].map(|()| Idempotency::new(MemoryStore::new()));
    let begun = Instant::now();
    // The third call below the first has its key again.
    let value = descend(&runtime, None, 0).await.unwrap();
    assert_eq!((value.as_str(), begun.elapsed()), ("0 1 2 calls_itself", Duration::ZERO));
    assert_eq!(descend(&runtime, None, 1).await.unwrap(), "1 2 calls_itself");
    let value = descend(&other, Some(&third), 0).await.unwrap();
    assert_eq!((value.as_str(), begun.elapsed()), ("0 1 2 3 4 5 calls_itself", Duration::ZERO));
}
