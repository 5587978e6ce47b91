//! `Cached`: completed records in the memory of this process, in front of a store.

use std::time::Duration;

use http::StatusCode;
use idempotent_runtime::{
    AcquireRequest, Acquired, Cached, Fingerprint, Idempotency, LeaseId, Metadata, Record,
    StorageKey, Store as _,
};
use idempotent_tests::{Fault, Faulty, Gate, Step};

use crate::support::{Handler, NOBODY, PAY, Process, faulty, other, pay_with};

fn cached(store: &Faulty, handler: &Handler) -> Process {
    Process::with(Idempotency::builder(Cached::new(store.clone())), handler)
}

fn calls(store: &Faulty) -> usize {
    [Step::Acquire, Step::Complete, Step::Renew, Step::Release, Step::Inspect]
        .map(|step| store.calls(step))
        .iter()
        .sum()
}

#[tokio::test]
async fn a_replay_costs_no_round_trip() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = cached(&store, &handler);
    let first = process.pay("k").await;
    assert_eq!(calls(&store), 2);
    for _ in 0..10 {
        let again = process.pay("k").await;
        assert!(again.is_replayed());
        assert_eq!(again.text(), first.text());
    }
    assert_eq!((calls(&store), handler.runs()), (2, 1));
}

/// What another process completed is asked for once.
#[tokio::test]
async fn a_record_that_was_read_is_kept_too() {
    let (store, handler) = (faulty(), Handler::pays());
    Process::new(&other(&store), &handler).pay("k").await;
    let process = cached(&store, &handler);
    for _ in 0..3 {
        assert!(process.pay("k").await.is_replayed());
    }
    assert_eq!(calls(&store), 1);
}

/// CASES 6 on this path too: another request with the key gets no content.
#[tokio::test]
async fn a_hit_compares_the_fingerprint() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = cached(&store, &handler);
    process.pay("k").await;
    process.send(pay_with("k").body("other")).await.assert_problem(422, "key_reused");
    assert_eq!(calls(&store), 2);
}

#[tokio::test]
async fn what_is_kept_answers_while_the_store_is_away() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = cached(&store, &handler);
    process.pay("k").await;
    store.always_all(&Fault::Unreachable);
    assert!(process.pay("k").await.is_replayed());
    assert_eq!(process.pay("new").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn forget_clears_what_is_kept() {
    let (store, handler) = (faulty(), Handler::pays());
    let process = cached(&store, &handler);
    process.pay("k").await;
    assert!(process.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap());
    assert_eq!(process.pay("k").await.text(), "payment 2, attempt 1");
}

/// Another process forgets: this one goes on replaying for `max_age`, and no longer.
#[tokio::test(start_paused = true)]
async fn what_another_process_forgot_is_replayed_for_max_age_at_most() {
    let (store, handler) = (faulty(), Handler::pays());
    let max_age = Duration::from_secs(10);
    let store_with_memory = Cached::builder(store.clone()).max_age(max_age).build();
    let process = Process::with(Idempotency::builder(store_with_memory), &handler);
    let stranger = Process::new(&other(&store), &handler);
    process.pay("k").await;
    stranger.runtime.forget(&NOBODY, PAY, "k", false).await.unwrap();
    tokio::time::sleep(max_age.checked_sub(Duration::from_millis(1)).unwrap()).await;
    assert!(process.pay("k").await.is_replayed());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(process.pay("k").await.text(), "payment 2, attempt 1");
}

/// A record is never replayed longer than it is replayable, counted from before it was asked for.
#[tokio::test(start_paused = true)]
async fn a_record_is_not_kept_beyond_its_ttl() {
    let store = faulty();
    let kept = Cached::new(store.clone());
    let (key, request) = (StorageKey::from_bytes([7; 32]), Fingerprint::of(&"request"));
    let ask = || AcquireRequest::new(&key, &request, LeaseId::random(), Duration::from_secs(30));
    let Ok(Acquired::Granted(lease)) = kept.acquire(ask()).await else { unreachable!() };
    let record = Record::new(request, Metadata::Value, "1".into());
    kept.complete(&lease, record.clone(), Duration::from_secs(20)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    // Read again with 5 s left, in a slow answer: those seconds count from when it was asked.
    let gate = Gate::new();
    store.next(Step::Inspect, Fault::HoldAnswer(gate.clone()));
    let slow = async {
        gate.reached().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        gate.open();
    };
    tokio::join!(kept.inspect(&key), slow).0.unwrap();
    assert_eq!(kept.recall(&key), Some(record));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(kept.recall(&key), None);
}

/// A read that was under way while the key was forgotten is not kept.
#[tokio::test]
async fn a_read_that_forget_overtook_is_not_kept() {
    let store = faulty();
    let kept = std::sync::Arc::new(Cached::new(store.clone()));
    let (key, request) = (StorageKey::from_bytes([7; 32]), Fingerprint::of(&"request"));
    let ask = AcquireRequest::new(&key, &request, LeaseId::random(), Duration::from_secs(30));
    let Ok(Acquired::Granted(lease)) = store.acquire(ask).await else { unreachable!() };
    let record = Record::new(request, Metadata::Value, "1".into());
    store.complete(&lease, record, Duration::from_secs(20)).await.unwrap();
    let gate = Gate::new();
    store.next(Step::Inspect, Fault::HoldAnswer(gate.clone()));
    let reading = tokio::spawn({
        let kept = std::sync::Arc::clone(&kept);
        async move { kept.inspect(&key).await }
    });
    gate.reached().await;
    kept.forget(&key, false).await.unwrap();
    gate.open();
    reading.await.unwrap().unwrap();
    assert_eq!(kept.recall(&key), None);
}
