//! What is recorded, and what cannot be.

use std::{
    collections::HashMap,
    error::Error as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use idempotent_runtime::{
    AcquireRequest, Acquired, Error, Fingerprint, Idempotency, KeyState, LeaseId, MemoryStore,
    Metadata, Record, StorageKey, Store as _, idempotent_fn,
};
use idempotent_tests::{Fault, Step};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::support::{NOBODY, faulty};

/// A function whose type of value is the test's.
#[idempotent_fn(key = id, operation = "give", runtime = runtime)]
async fn give<T>(
    runtime: &Idempotency,
    runs: &AtomicUsize,
    id: u64,
    value: impl FnOnce() -> T,
) -> Result<T, Error>
where
    T: Serialize + DeserializeOwned,
{
    runs.fetch_add(1, Ordering::SeqCst);
    Ok(value())
}

/// CASES 6: every value is one, and the replayed one equals the first.
#[tokio::test]
async fn falsy_and_unusual_values_are_replayed() {
    async fn check<T>(value: T)
    where
        T: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        for runtime in [Idempotency::new(MemoryStore::new()), Idempotency::new(faulty())] {
            let runs = AtomicUsize::new(0);
            for _ in 0..2 {
                let given = give(&runtime, &runs, 1, || value.clone()).await.unwrap();
                assert_eq!(given, value);
            }
            assert_eq!(runs.into_inner(), 1);
        }
    }
    check(()).await;
    check(0_u64).await;
    check(false).await;
    check(String::new()).await;
    check(Vec::<u8>::new()).await;
    check(None::<u8>).await;
    check(Some(Some(1))).await;
    check(u128::MAX).await;
    check(f64::MIN_POSITIVE).await;
    check("\0\u{1f600}\"\\".to_owned()).await;
    check(HashMap::from([("a".to_owned(), vec![1.5, -0.0])])).await;
    check(Ok::<u8, String>(1)).await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    id: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    id: u64,
    carrier: String,
}

/// Gives `value` twice: an error of the guard both times, which names what was wrong the first time,
/// and one execution.
async fn told_at_once<T>(value: fn() -> T, reason: &str)
where
    T: Serialize + DeserializeOwned + std::fmt::Debug,
{
    for runtime in [Idempotency::new(MemoryStore::new()), Idempotency::new(faulty())] {
        let runs = AtomicUsize::new(0);
        let error = give(&runtime, &runs, 1, value).await.unwrap_err();
        assert!(matches!(error, Error::Unrecordable { operation: "give", .. }), "{error:?}");
        let source = error.source().unwrap().to_string();
        assert!(source.contains(reason), "{source}");
        let error = give(&runtime, &runs, 1, value).await.unwrap_err();
        assert!(matches!(error, Error::NotReplayable { operation: "give" }), "{error:?}");
        assert_eq!(runs.into_inner(), 1);
    }
}

/// CASES 69: a value that would be replayed as another one is an error the first time.
#[tokio::test]
async fn a_value_that_would_not_be_replayed_as_it_was_is_told_the_first_time() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Rate {
        rate: f64,
        #[allow(clippy::option_option)] // what it is about
        paid: Option<Option<u8>>,
    }
    told_at_once(|| Some(()), "`Some(())`").await;
    told_at_once(|| Some(None::<u8>), "`Some(None)`").await;
    told_at_once(|| Some(serde_json::Value::Null), "back as `None`").await;
    told_at_once(|| Rate { rate: 1.5, paid: Some(None) }, "back as `None`").await;
    told_at_once(|| Rate { rate: f64::NAN, paid: None }, "`NaN`").await;
    told_at_once(|| Some(f64::INFINITY), "`inf`").await;
}

/// A deployment changed the type: the record is as good as ever, and says so.
#[tokio::test]
async fn a_value_of_an_older_type_is_an_error_that_names_the_operation_and_never_runs_again() {
    let (store, runs) = (MemoryStore::new(), AtomicUsize::new(0));
    let (before, after) = (Idempotency::new(store.clone()), Idempotency::new(store));
    give(&before, &runs, 1, || Old { id: 1 }).await.unwrap();
    for _ in 0..2 {
        let new = || New { id: 1, carrier: "x".into() };
        let error = give(&after, &runs, 1, new).await.unwrap_err();
        assert!(matches!(error, Error::Unreadable { operation: "give", .. }), "{error:?}");
        assert!(error.to_string().contains("`give`"), "{error}");
        assert!(error.source().unwrap().to_string().contains("missing field `carrier`"));
        assert_eq!((error.code(), error.retryable()), ("record_unreadable", false));
    }
    assert_eq!(give(&after, &runs, 1, || Old { id: 2 }).await.unwrap(), Old { id: 1 });
    assert_eq!(runs.into_inner(), 1);
}

/// Serialises as told.
#[derive(Debug)]
enum Broken {
    Fails,
    Panics,
}

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fails => Err(serde::ser::Error::custom("a socket has no text")),
            Self::Panics => panic!("in the middle of it"),
        }
    }
}

impl<'de> Deserialize<'de> for Broken {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("nothing to read"))
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_serialised_is_an_error_once_and_a_tombstone_then() {
    for (broken, reason) in
        [(|| Broken::Fails, "a socket has no text"), (|| Broken::Panics as Broken, "panicked")]
            as [(fn() -> Broken, &str); 2]
    {
        let (runtime, runs) = (Idempotency::new(faulty()), AtomicUsize::new(0));
        let error = give(&runtime, &runs, 1, broken).await.unwrap_err();
        assert!(matches!(error, Error::Unrecordable { operation: "give", .. }), "{error:?}");
        assert!(error.source().unwrap().to_string().contains(reason));
        assert_eq!((error.code(), error.retryable()), ("value_unrecordable", false));
        let state = runtime.inspect(&NOBODY, "give", 1).await.unwrap();
        assert!(matches!(state, KeyState::Completed { record, .. } if record.is_tombstone()));
        let error = give(&runtime, &runs, 1, broken).await.unwrap_err();
        assert!(matches!(error, Error::NotReplayable { operation: "give" }), "{error:?}");
        assert_eq!((error.code(), error.retryable()), ("not_replayable", false));
        assert_eq!(runs.into_inner(), 1);
    }
}

/// A tombstone that cannot be written: the value does not pass before it.
#[tokio::test(start_paused = true)]
async fn an_unrecordable_value_is_withheld_until_its_tombstone_stands() {
    let (store, runs) = (faulty(), AtomicUsize::new(0));
    let runtime = Idempotency::new(store.clone());
    store.always(Step::Complete, Fault::Unreachable);
    let error = give(&runtime, &runs, 1, || Broken::Fails).await.unwrap_err();
    assert_eq!(error.code(), "store_unavailable");
    store.heal();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let error = give(&runtime, &runs, 1, || Broken::Fails).await.unwrap_err();
    assert_eq!((error.code(), runs.into_inner()), ("not_replayable", 1));
}

/// CASES 21: the caller has its value, nobody has it again, nothing runs again.
#[tokio::test]
async fn a_value_over_the_cap_is_given_once() {
    let runtime = Idempotency::builder(MemoryStore::new()).max_response_bytes(10).build().unwrap();
    let runs = AtomicUsize::new(0);
    let (fits, over) = ("12345678".to_owned(), "123456789".to_owned());
    for _ in 0..2 {
        assert_eq!(give(&runtime, &runs, 1, || fits.clone()).await.unwrap(), fits);
    }
    assert_eq!(give(&runtime, &runs, 2, || over.clone()).await.unwrap(), over);
    let error = give(&runtime, &runs, 2, || over.clone()).await.unwrap_err();
    assert!(matches!(error, Error::NotReplayable { .. }), "{error:?}");
    assert_eq!(runs.into_inner(), 2);
}

/// CASES 40: somebody wrote an answer of HTTP, or nonsense, where a value should be.
#[tokio::test]
async fn a_record_that_is_no_value_is_an_error_and_never_an_execution() {
    let response = Metadata::Response {
        status: http::StatusCode::OK,
        headers: Vec::new(),
        trailers: Vec::new(),
    };
    for (metadata, body) in [(response, "1"), (Metadata::Value, "{"), (Metadata::Value, "")] {
        for in_memory in [true, false] {
            let (store, runs) = (faulty(), AtomicUsize::new(0));
            let runtime = match in_memory {
                true => Idempotency::new(store.inner().clone()),
                false => Idempotency::new(store.clone()),
            };
            // Without `fingerprint = …` the fingerprint is the storage key.
            let key = StorageKey::derive(None, None, "give", &1_u64);
            let fingerprint = Fingerprint::from_bytes(*key.as_bytes());
            let day = std::time::Duration::from_hours(24);
            let ask = AcquireRequest::new(&key, &fingerprint, LeaseId::random(), day);
            let Acquired::Granted(lease) = store.acquire(ask).await.unwrap() else { panic!() };
            let record = Record::new(fingerprint, metadata.clone(), body.into());
            store.complete(&lease, record, day).await.unwrap();
            let error = give(&runtime, &runs, 1, || 1_u64).await.unwrap_err();
            assert!(matches!(error, Error::Unreadable { operation: "give", .. }), "{error:?}");
            assert_eq!(runs.into_inner(), 0);
        }
    }
}
