//! Content keys: equal content is one operation.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, extract::State, routing::post as on_post};
use idempotent_runtime::{
    ContentKey, Error, Idempotency, KeyState, MemoryStore, idempotent, idempotent_fn,
};
use idempotent_tests::{get, post};
use serde::Serialize;
use tokio::time::advance;

type Runs = Arc<AtomicUsize>;

fn next(runs: &Runs) -> String {
    (runs.fetch_add(1, Ordering::SeqCst) + 1).to_string()
}

#[derive(Clone, Serialize)]
struct Order {
    sku: String,
    options: HashMap<String, u32>,
    #[serde(skip)]
    received_at: u64,
}

#[idempotent_fn(key = hash(order), ttl = "5min", operation = "order", runtime = runtime)]
async fn order(runtime: &Idempotency, runs: &Runs, order: &Order) -> Result<String, Error> {
    Ok(next(runs))
}

#[idempotent_fn(key = hash((&orders, *by)), operation = "pairs", runtime = runtime)]
async fn pairs<K>(
    runtime: &Idempotency,
    runs: &Runs,
    orders: HashMap<K, u8>,
    by: &str,
) -> Result<String, Error>
where
    K: Serialize + std::hash::Hash + Eq,
{
    Ok(next(runs))
}

#[tokio::test(start_paused = true)]
async fn equal_messages_are_one_until_the_ttl_is_over() {
    let (runtime, runs) = (Idempotency::new(MemoryStore::new()), Runs::default());
    let options = |amount| (0..20).map(|n| (n.to_string(), amount)).collect();
    let mut first = Order { sku: "a".into(), options: options(1), received_at: 1 };
    let state = async |of: &Order| {
        let key = ContentKey::of(of).unwrap();
        runtime.inspect(&None::<&str>, "order", key).await.unwrap()
    };
    assert!(matches!(state(&first).await, KeyState::Absent));
    assert_eq!(order(&runtime, &runs, &first).await.unwrap(), "1");
    assert!(matches!(state(&first).await, KeyState::Completed { .. }));
    first.received_at = 2;
    first.options = options(1); // another HashMap, which iterates in another order
    assert_eq!(order(&runtime, &runs, &first).await.unwrap(), "1");
    let other = Order { options: options(2), ..first.clone() };
    assert_eq!(order(&runtime, &runs, &other).await.unwrap(), "2");
    advance(Duration::from_mins(5)).await;
    assert_eq!(order(&runtime, &runs, &first).await.unwrap(), "3");
}

#[tokio::test]
async fn content_without_a_form_in_json_is_an_error_and_nothing_runs() {
    let (runtime, runs) = (Idempotency::new(MemoryStore::new()), Runs::default());
    let error = pairs(&runtime, &runs, HashMap::from([((1, 2), 3)]), "a").await.unwrap_err();
    assert!(matches!(error, Error::KeyInvalid { operation: "pairs", .. }), "{error:?}");
    assert_eq!((error.code(), error.retryable()), ("key_invalid", false));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    for (by, nth) in [("a", "1"), ("b", "2"), ("a", "1")] {
        assert_eq!(pairs(&runtime, &runs, HashMap::from([(1, 1)]), by).await.unwrap(), nth);
    }
}

#[idempotent(key = fingerprint, ttl = "5min")]
async fn by_fingerprint(State(runs): State<Runs>, body: String) -> String {
    drop(body);
    next(&runs)
}

#[idempotent(key = fingerprint, fingerprint = body.len(), shared)]
async fn by_length(State(runs): State<Runs>, body: String) -> String {
    drop(body);
    next(&runs)
}

#[idempotent(key = hash(body), shared, operation = "hash")]
async fn by_hash(State(runs): State<Runs>, body: String) -> String {
    drop(body);
    next(&runs)
}

#[idempotent(key = &fingerprint, shared, operation = "argument")]
async fn by_an_argument(State(runs): State<Runs>, fingerprint: String) -> String {
    drop(fingerprint);
    next(&runs)
}

fn app() -> Router {
    Router::new()
        .route("/orders", on_post(by_fingerprint).put(by_fingerprint))
        .route("/length", on_post(by_length))
        .route("/hash", on_post(by_hash).get(by_hash))
        .route("/argument", on_post(by_an_argument))
        .layer(Extension(Idempotency::new(MemoryStore::new())))
        .with_state(Runs::default())
}

/// No client sends a key, and equal requests are one: same method, path, query, body and caller.
#[tokio::test(start_paused = true)]
async fn equal_requests_are_one_where_the_fingerprint_is_the_key() {
    let app = app();
    let alice = |path: &str| post(path).header("authorization", "alice");
    let first = post("/orders").body("a").send(&app).await;
    assert_eq!(first.text(), "1");
    for (request, nth, replayed) in [
        (post("/orders").body("a"), "1", true),
        (post("/orders").body("b"), "2", false),
        (post("/orders?q=1").body("a"), "3", false),
        (alice("/orders").body("a"), "4", false),
        (alice("/orders").body("a"), "4", true),
        (post("/orders").key("ignored").body("a"), "1", true),
        (post("/orders"), "5", false),
        (post("/orders"), "5", true),
    ] {
        let answer = request.send(&app).await;
        assert_eq!((answer.text(), answer.is_replayed()), (nth, replayed));
    }
    advance(Duration::from_mins(5)).await;
    assert_eq!(post("/orders").body("a").send(&app).await.text(), "6");
}

#[tokio::test]
async fn an_expression_for_the_fingerprint_decides_which_requests_are_equal() {
    let app = app();
    for (body, nth) in [("ab", "1"), ("cd", "1"), ("abc", "2")] {
        assert_eq!(post("/length").body(body).send(&app).await.text(), nth);
    }
}

/// The digest of a value is a key like any other: the rest of the request still has to be the same.
#[tokio::test]
async fn a_request_may_be_keyed_by_the_digest_of_a_value() {
    let app = app();
    assert_eq!(post("/hash").body("a").send(&app).await.text(), "1");
    assert_eq!(post("/hash").body("b").send(&app).await.text(), "2");
    assert_eq!(post("/hash").body("a").send(&app).await.text(), "1");
    post("/hash?q=1").body("a").send(&app).await.assert_problem(422, "key_reused");
    get("/hash").body("a").send(&app).await.assert_problem(422, "key_reused");
}

#[tokio::test]
async fn an_argument_called_fingerprint_is_a_key_when_it_is_borrowed() {
    let app = app();
    assert_eq!(post("/argument").body("a").send(&app).await.text(), "1");
    post("/argument?q=1").body("a").send(&app).await.assert_problem(422, "key_reused");
}

#[idempotent_fn(key = id, fingerprint = hash(order), operation = "compared", runtime = runtime)]
async fn compared(
    runtime: &Idempotency,
    runs: &Runs,
    id: &str,
    order: &Order,
) -> Result<String, Error> {
    Ok(next(runs))
}

/// CASES 61: what is compared is the content, in whichever order a map has it.
#[tokio::test]
async fn a_value_that_is_compared_by_its_content_is_the_same_in_any_order() {
    let (runtime, runs) = (Idempotency::new(MemoryStore::new()), Runs::default());
    let options = |amount| (0..20).map(|n| (n.to_string(), amount)).collect();
    let order =
        |amount, received_at| Order { sku: "a".into(), options: options(amount), received_at };
    for received_at in 0..5 {
        let value = compared(&runtime, &runs, "1", &order(1, received_at)).await.unwrap();
        assert_eq!(value, "1");
    }
    let other = compared(&runtime, &runs, "1", &order(2, 0)).await;
    assert!(matches!(other, Err(Error::KeyReused { .. })), "{other:?}");
    let formless = compared_pairs(&runtime, &runs, &HashMap::from([((1, 2), 3)])).await;
    assert!(matches!(formless, Err(Error::KeyInvalid { .. })), "{formless:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[idempotent_fn(key = pairs.len(), fingerprint = hash(pairs), operation = "formless", runtime = runtime)]
async fn compared_pairs(
    runtime: &Idempotency,
    runs: &Runs,
    pairs: &HashMap<(u8, u8), u8>,
) -> Result<String, Error> {
    Ok(next(runs))
}
