//! What the body can ask, and recording in its own transaction.

use idempotent_runtime::{
    Error, Idempotency, MemoryStore, OnAbandoned, Store as _, ValueAttempt, idempotent_fn,
};
use idempotent_tests::{Fault, Faulty, Step};

use crate::support::{Consumer, ShipError, Shipment, Work, faulty, settings, shipment};

#[tokio::test(start_paused = true)]
async fn the_body_knows_its_attempt() {
    let work = Work::new(|run| async move {
        let attempt = &run.attempt;
        assert_eq!(
            (attempt.number(), attempt.is_recovery()),
            (u32::try_from(run.nth).unwrap(), run.nth > 1)
        );
        assert!(attempt.is_guarded() && attempt.fencing_token().is_some());
        assert!(format!("{attempt:?}").contains("number"));
        if run.nth < 3 {
            return Err(ShipError::NoCarrier(run.nth));
        }
        run.shipped()
    });
    let consumer = Consumer::new(faulty(), &work);
    for _ in 0..2 {
        consumer.call("e").await.unwrap_err();
    }
    assert_eq!(consumer.call("e").await.unwrap(), shipment(3, 3));
}

#[idempotent_fn(key = id, operation = "downstream", runtime = runtime, attempt = attempt)]
async fn downstream(runtime: &Idempotency, id: u64, fail: bool) -> Result<[String; 2], Text> {
    let keys = ["bank", "mail"].map(|name| attempt.downstream_key(name));
    if fail { Err(Text(keys[0].clone())) } else { Ok(keys) }
}

#[derive(Debug)]
struct Text(String);

impl From<Error> for Text {
    fn from(error: Error) -> Self {
        Self(error.code().to_owned())
    }
}

#[tokio::test]
async fn downstream_keys_are_the_same_in_every_attempt() {
    let runtime = Idempotency::new(MemoryStore::new());
    let of_the_first = downstream(&runtime, 1, true).await.unwrap_err().0;
    let [bank, mail] = downstream(&runtime, 1, false).await.unwrap();
    assert!(of_the_first == bank && bank != mail && bank.len() == 32);
    assert_ne!(downstream(&runtime, 2, false).await.unwrap()[0], bank);
}

/// Steps survive a failed attempt.
#[tokio::test]
async fn a_step_of_a_failed_attempt_is_not_taken_again() {
    let work = Work::new(|run| async move {
        let nth = run.nth;
        let charged: usize =
            run.attempt.step("charge", async move { Ok::<_, ShipError>(nth) }).await?;
        if nth == 1 { Err(ShipError::NoCarrier(nth)) } else { Ok(shipment(charged, 2)) }
    });
    let consumer = Consumer::new(MemoryStore::new(), &work);
    consumer.call("e").await.unwrap_err();
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 2));
}

/// What the body does to the store that stands in for its own database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    Committed,
    RolledBack,
    /// Somebody else's value is what the database has.
    CommittedOther,
}

async fn record_in(
    store: &MemoryStore,
    attempt: &ValueAttempt<Shipment>,
    value: &Shipment,
    transaction: Transaction,
) {
    let recording = attempt.recording().unwrap();
    recording.begin();
    let value = match transaction {
        Transaction::CommittedOther => shipment(value.nth + 1000, value.attempt),
        _ => value.clone(),
    };
    let record = recording.value(&value).unwrap();
    if transaction != Transaction::RolledBack {
        store.complete(recording.lease(), record, recording.ttl()).await.unwrap();
    }
}

/// Records in its own transaction in the first execution, then answers `ends`.
fn recording(
    store: &Faulty,
    transaction: Transaction,
    ends: fn(Shipment) -> Result<Shipment, ShipError>,
) -> Work {
    let store = store.inner().clone();
    Work::new(move |run| {
        let store = store.clone();
        async move {
            let value = shipment(run.nth, run.attempt.number());
            if run.nth == 1 {
                record_in(&store, &run.attempt, &value, transaction).await;
                return ends(value);
            }
            Ok(value)
        }
    })
}

/// CASES 45: whatever the body answers, its caller gets what was committed.
#[tokio::test(start_paused = true)]
async fn after_record_in_the_caller_gets_what_was_committed() {
    let ok: fn(Shipment) -> Result<Shipment, ShipError> = Ok;
    let fails: fn(Shipment) -> Result<Shipment, ShipError> =
        |value| Err(ShipError::NoCarrier(value.nth));
    for ends in [ok, fails] {
        for (transaction, expected) in [
            (Transaction::Committed, shipment(1, 1)),
            (Transaction::CommittedOther, shipment(1001, 1)),
        ] {
            let store = faulty();
            let work = recording(&store, transaction, ends);
            let consumer = Consumer::new(store.clone(), &work);
            for _ in 0..2 {
                assert_eq!(consumer.call("e").await.unwrap(), expected, "{transaction:?}");
            }
            assert_eq!((work.runs(), store.calls(Step::Complete)), (1, 0));
        }
    }
}

/// CASES 45: a success that was not committed is none.
#[tokio::test(start_paused = true)]
async fn a_value_whose_transaction_was_not_committed_is_an_error_and_the_key_is_free() {
    let store = faulty();
    let work = recording(&store, Transaction::RolledBack, Ok);
    let consumer = Consumer::new(store, &work);
    let error = consumer.call("e").await.unwrap_err().guard();
    assert!(matches!(error, Error::NotCommitted { operation: "ship" }), "{error:?}");
    assert_eq!((error.code(), error.retryable()), ("not_committed", true));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_a_rollback_is_the_functions_own() {
    let store = faulty();
    let work =
        recording(&store, Transaction::RolledBack, |value| Err(ShipError::NoCarrier(value.nth)));
    let consumer = Consumer::new(store, &work);
    assert!(matches!(consumer.call("e").await.unwrap_err(), ShipError::NoCarrier(1)));
    assert_eq!(consumer.call("e").await.unwrap(), shipment(2, 2));
}

/// Nobody knows what was committed: nothing is answered and nothing runs until the store says.
#[tokio::test(start_paused = true)]
async fn while_the_store_does_not_say_what_was_committed_there_is_no_value() {
    let store = faulty();
    let work = recording(&store, Transaction::Committed, Ok);
    let consumer = Consumer::with(settings(store.clone()).on_abandoned(OnAbandoned::Rerun), &work);
    store.always(Step::Inspect, Fault::Unreachable);
    store.always(Step::Release, Fault::Unreachable);
    let error = consumer.call("e").await.unwrap_err().guard();
    assert_eq!((error.code(), error.retryable()), ("store_unavailable", true));
    store.heal();
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1));
    assert_eq!(work.runs(), 1);
}
