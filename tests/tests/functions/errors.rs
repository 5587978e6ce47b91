//! `Error` in the hands of its users.

use std::{
    error::Error as StdError,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
};

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

/// A function may answer the guard's error itself, or box it.
#[idempotent_fn(key = id, operation = "boxed", runtime = runtime)]
async fn boxed(runtime: &Idempotency, id: &str) -> Result<u8, Box<dyn StdError + Send + Sync>> {
    let parsed = id.parse()?;
    Ok(parsed)
}

#[tokio::test]
async fn boxed_errors_keep_their_type() {
    let runtime = Idempotency::new(MemoryStore::new());
    assert_eq!(boxed(&runtime, "7").await.unwrap(), 7);
    assert!(boxed(&runtime, "x").await.unwrap_err().is::<std::num::ParseIntError>());
    let error = boxed(&runtime, "").await.unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.to_string(), "the key of `boxed` is missing or empty; it was not executed");
}

#[derive(Debug)]
struct Local<'a>(Rc<str>, &'a str);

impl From<Error> for Local<'_> {
    fn from(error: Error) -> Self {
        Self(error.to_string().into(), "guard")
    }
}

/// Nothing has to be `Send` or `'static`: neither the arguments nor the error nor the future.
#[idempotent_fn(key = id, operation = "local", runtime = runtime)]
async fn local<'a>(
    runtime: &Idempotency,
    runs: &AtomicUsize,
    name: &'a str,
    id: Rc<str>,
) -> Result<String, Local<'a>> {
    let held = Rc::clone(&id);
    tokio::task::yield_now().await;
    match runs.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Local(held, name)),
        nth => Ok(format!("{name} {held} {nth}")),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_borrowed_or_not_send_is_guarded_too() {
    let (runtime, runs) = (Idempotency::new(MemoryStore::new()), AtomicUsize::new(0));
    let name = String::from("n");
    let error = local(&runtime, &runs, &name, "a".into()).await.unwrap_err();
    assert_eq!((&*error.0, error.1), ("a", "n"));
    for _ in 0..2 {
        assert_eq!(local(&runtime, &runs, &name, "a".into()).await.unwrap(), "n a 1");
    }
    let error = local(&runtime, &runs, &name, "".into()).await.unwrap_err();
    assert_eq!(error.1, "guard");
}

/// It goes wherever an error has to go.
#[test]
fn errors_are_send_sync_and_static() {
    fn check<T: Send + Sync + 'static + StdError>() {}
    check::<Error>();
}
