//! Keys, scopes, operations: which calls are one.

use std::sync::atomic::{AtomicUsize, Ordering};

use idempotent_runtime::{
    Error, Fingerprint, Idempotency, KeyState, MemoryStore, StorageKey, idempotent_fn,
};
use idempotent_tests::Logs;

struct Counter {
    runtime: Idempotency,
    runs: AtomicUsize,
}

impl Counter {
    fn new() -> Self {
        let runtime =
            Idempotency::builder(MemoryStore::new()).hash_secret([7; 32]).build().unwrap();
        Self { runtime, runs: AtomicUsize::new(0) }
    }

    fn next(&self) -> usize {
        self.runs.fetch_add(1, Ordering::SeqCst) + 1
    }

    #[idempotent_fn(key = (tenant, id), scope = user, operation = "scoped", runtime = self.runtime)]
    async fn scoped(
        &self,
        user: Option<&str>,
        tenant: Option<u32>,
        id: &str,
    ) -> Result<usize, Error> {
        Ok(self.next())
    }

    #[idempotent_fn(key = id, runtime = self.runtime)]
    async fn one(&self, id: u64) -> Result<usize, Error> {
        Ok(self.next())
    }

    #[idempotent_fn(key = id, runtime = self.runtime)]
    async fn two(&self, id: u64) -> Result<usize, Error> {
        Ok(self.next())
    }

    /// The key is taken before the body changes its input.
    #[idempotent_fn(key = ids, fingerprint = ids.len(), operation = "changes", runtime = self.runtime)]
    async fn changes(&self, mut ids: Vec<u64>) -> Result<usize, Error> {
        ids.push(1);
        drop(ids);
        Ok(self.next())
    }
}

#[tokio::test]
async fn two_scopes_never_share_a_key_and_no_scope_is_one() {
    let counter = Counter::new();
    for (user, nth) in [(Some("a"), 1), (Some("b"), 2), (None, 3), (Some("a"), 1), (None, 3)] {
        assert_eq!(counter.scoped(user, Some(1), "e").await.unwrap(), nth, "{user:?}");
    }
}

/// CASES 10, 26.
#[tokio::test]
async fn a_key_with_a_missing_part_or_without_content_is_an_error() {
    let counter = Counter::new();
    for (tenant, id) in [(None, "e"), (None, "")] {
        let error = counter.scoped(None, tenant, id).await.unwrap_err();
        assert!(matches!(error, Error::KeyMissing { operation: "scoped" }), "{error:?}");
        assert_eq!((error.code(), error.retryable()), ("key_missing", false));
    }
    assert_eq!(counter.runs.load(Ordering::SeqCst), 0);
}

/// The name of a function is its operation: renaming it forgets its keys.
#[tokio::test]
async fn two_functions_share_no_key_and_are_found_by_module_and_name() {
    let counter = Counter::new();
    assert_eq!(counter.one(7).await.unwrap(), 1);
    assert_eq!(counter.two(7).await.unwrap(), 2);
    assert_eq!(counter.one(7).await.unwrap(), 1);
    let state =
        counter.runtime.inspect(&None::<&str>, "functions::keys::one", 7_u64).await.unwrap();
    let KeyState::Completed { record, .. } = state else { panic!("{state:?}") };
    assert_eq!(&record.body()[..], b"1");
    // CASES 55: without `fingerprint = …` it is the storage key.
    let key = StorageKey::derive(Some(&[7; 32]), None, "functions::keys::one", &7_u64);
    assert_eq!(*record.fingerprint(), Fingerprint::from_bytes(*key.as_bytes()));
    assert!(matches!(
        counter.runtime.inspect(&None::<&str>, "functions::keys::one", 8_u64).await.unwrap(),
        KeyState::Absent
    ));
}

/// CASES 3.
#[tokio::test]
async fn a_body_that_changes_its_input_records_the_key_that_was_claimed() {
    let counter = Counter::new();
    for _ in 0..2 {
        assert_eq!(counter.changes(vec![5]).await.unwrap(), 1);
    }
    assert_eq!(counter.changes(vec![5, 1]).await.unwrap(), 2);
}

/// CASES 55: an upgrade must not change how fingerprints are derived; the operation is part of them.
#[tokio::test]
async fn golden_vectors_of_the_fingerprints_of_functions() {
    #[idempotent_fn(key = id, fingerprint = (id, "b"), operation = "golden", runtime = runtime)]
    async fn golden(runtime: &Idempotency, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
    for (builder, expected) in [
        (Idempotency::builder(MemoryStore::new()), GOLDEN[0]),
        (Idempotency::builder(MemoryStore::new()).hash_secret([7; 32]), GOLDEN[1]),
    ] {
        let runtime = builder.build().unwrap();
        golden(&runtime, 1).await.unwrap();
        let state = runtime.inspect(&None::<&str>, "golden", 1_u64).await.unwrap();
        assert_eq!(state.fingerprint().unwrap().to_string(), expected);
    }
}

const GOLDEN: [&str; 2] = [
    "933752a477931e405856ae6630ade099ab6e343c508e574f03d7dcf76776c66d",
    "54cfc64ef400eae671788f8dc85421c9dd6efdec02d72dc921d8e9b32254095a",
];

struct Invoices(Idempotency);
struct Parcels(Idempotency);

impl Invoices {
    #[idempotent_fn(key = id, runtime = self.0)]
    async fn send(&self, id: u64) -> Result<String, Error> {
        Ok(format!("invoice {id}"))
    }

    #[idempotent_fn(key = id, operation = "invoices::pay", runtime = self.0)]
    async fn pay(&self, id: u64) -> Result<String, Error> {
        Ok(format!("invoice {id}"))
    }
}

impl Parcels {
    #[idempotent_fn(key = id, runtime = self.0)]
    async fn send(&self, id: u64) -> Result<String, Error> {
        Ok(format!("parcel {id}"))
    }

    #[idempotent_fn(key = id, operation = "parcels::pay", runtime = self.0)]
    async fn pay(&self, id: u64) -> Result<String, Error> {
        Ok(format!("parcel {id}"))
    }
}

/// The attribute cannot see the type: one would be answered with what the other recorded.
#[tokio::test]
async fn two_methods_of_one_name_in_one_module_are_refused_unless_they_name_their_operations() {
    let runtime = Idempotency::new(MemoryStore::new());
    let (invoices, parcels) = (Invoices(runtime.clone()), Parcels(runtime));
    assert_eq!(invoices.send(1).await.unwrap(), "invoice 1");
    for error in [parcels.send(1).await.unwrap_err(), invoices.send(1).await.unwrap_err()] {
        let Error::OperationAmbiguous { operation, place, other } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*operation, "functions::keys::send");
        assert!(place != other && place.contains("keys.rs:") && other.contains("keys.rs:"));
        assert_eq!((error.code(), error.retryable()), ("operation_ambiguous", false));
    }
    assert_eq!(invoices.pay(1).await.unwrap(), "invoice 1");
    assert_eq!(parcels.pay(1).await.unwrap(), "parcel 1");
}

struct Emails(Idempotency);
struct Letters(Idempotency);

macro_rules! posting {
    ($($kind:ident: $name:literal),*) => {$(
        impl $kind {
            #[idempotent_fn(key = id, runtime = self.0)]
            async fn post(&self, id: u64) -> Result<String, Error> {
                Ok(format!("{} {id}", $name))
            }
        }
    )*};
}

posting!(Emails: "email", Letters: "letter");

/// They stand in one place: that of the macro's call.
#[tokio::test]
async fn two_methods_that_one_macro_writes_are_refused_too() {
    let runtime = Idempotency::new(MemoryStore::new());
    let (emails, letters) = (Emails(runtime.clone()), Letters(runtime));
    assert_eq!(emails.post(1).await.unwrap(), "email 1");
    for error in [letters.post(1).await.unwrap_err(), emails.post(1).await.unwrap_err()] {
        assert!(matches!(error, Error::OperationAmbiguous { .. }), "{error:?}");
    }
}

/// CASES 58: a scope of nothing would be one for everybody.
#[tokio::test]
async fn an_empty_scope_of_a_function_is_none_and_says_so_once() {
    let (counter, logs) = (Counter::new(), Logs::new());
    for (user, nth) in [(None, 1), (Some(""), 1), (Some(""), 1), (Some("a"), 2)] {
        assert_eq!(counter.scoped(user, Some(1), "e").await.unwrap(), nth, "{user:?}");
    }
    logs.assert_are(&[&["WARN", "operation=scoped", "is empty and is ignored"]]);
}

/// A method that a trait provides has one name for all who implement it.
#[tokio::test]
async fn a_provided_method_of_a_second_type_is_refused_unless_it_is_named() {
    trait Channel {
        fn runtime(&self) -> &Idempotency;
        fn name(&self) -> &'static str;

        #[idempotent_fn(key = id, runtime = self.runtime())]
        async fn notify(&self, id: u64) -> Result<String, Error> {
            Ok(self.name().to_owned())
        }

        #[idempotent_fn(key = (self.name(), id), operation = "notify", runtime = self.runtime())]
        async fn notify_named(&self, id: u64) -> Result<String, Error> {
            Ok(self.name().to_owned())
        }
    }
    struct Email(Idempotency);
    struct Sms<T>(Idempotency, T);
    impl Channel for Email {
        fn runtime(&self) -> &Idempotency {
            &self.0
        }
        fn name(&self) -> &'static str {
            "email"
        }
    }
    impl<T> Channel for Sms<T> {
        fn runtime(&self) -> &Idempotency {
            &self.0
        }
        fn name(&self) -> &'static str {
            "sms"
        }
    }
    let runtime = Idempotency::new(MemoryStore::new());
    let (email, sms) = (Email(runtime.clone()), Sms(runtime.clone(), 7));
    assert_eq!(email.notify(1).await.unwrap(), "email");
    assert_eq!(email.notify(1).await.unwrap(), "email");
    let refused = sms.notify(1).await.unwrap_err();
    assert!(matches!(refused, Error::OperationAmbiguous { .. }), "{refused}");
    assert!(refused.to_string().contains("Sms"), "{refused}");
    assert_eq!(email.notify_named(1).await.unwrap(), "email");
    assert_eq!(sms.notify_named(1).await.unwrap(), "sms");
    assert_eq!(Sms(runtime, "other").notify_named(1).await.unwrap(), "sms");
}
