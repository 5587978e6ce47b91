#![deny(warnings)]
//! A guarded handler behind a router runs once for a key, and everybody gets its answer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use idempotent_runtime::{Attempt, Idempotency, MemoryStore, idempotent};
use idempotent_tests::post as request;
use serde_json::{Value, json};

#[derive(Clone, Default)]
struct App {
    effects: Arc<AtomicU64>,
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create(
    State(app): State<App>,
    attempt: Attempt,
    Json(amount): Json<u64>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    if amount == 0 {
        return Err(StatusCode::BAD_REQUEST);
    }
    let effect = app.effects.fetch_add(1, Relaxed) + 1;
    Ok((StatusCode::CREATED, Json(json!({ "effect": effect, "attempt": attempt.number() }))))
}

#[idempotent(key = order.1, scope = account, optional, spawn = false)]
async fn by_expression(
    State(app): State<App>,
    Path(account): Path<u64>,
    Json(order): Json<(u64, Option<String>)>,
) -> String {
    let effect = app.effects.fetch_add(1, Relaxed) + 1;
    format!("{effect} {account} {order:?}")
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    let app = App::default();
    let router = Router::new()
        .route("/payments", post(create))
        .route("/accounts/{account}", post(by_expression))
        .layer(Extension(Idempotency::new(MemoryStore::new())))
        .with_state(app.clone());

    let create = request("/payments").key("a").json(&json!(5));
    let first = create.clone().send(&router).await;
    assert_eq!((first.status, first.json()["attempt"].as_u64()), (StatusCode::CREATED, Some(1)));
    assert!(!first.is_replayed());
    let retry = create.send(&router).await;
    assert!(retry.is_replayed());
    assert_eq!((retry.status, &retry.body), (first.status, &first.body));
    assert_eq!(app.effects.load(Relaxed), 1);

    let other = request("/payments").key("a").json(&json!(6)).send(&router).await;
    other.assert_problem(422, "key_reused");
    let without = request("/payments").json(&json!(6)).send(&router).await;
    without.assert_problem(400, "key_missing");
    let rejected = request("/payments").key("b").body("no JSON").send(&router).await;
    assert_eq!(rejected.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(app.effects.load(Relaxed), 1);

    let order = |account: u64, order: Value| request(&format!("/accounts/{account}")).json(&order);
    let first = order(1, json!([1, "x"])).send(&router).await;
    assert_eq!(first.text(), "2 1 (1, Some(\"x\"))");
    assert_eq!(order(1, json!([1, "x"])).send(&router).await.text(), first.text());
    assert_eq!(order(2, json!([1, "x"])).send(&router).await.text(), "3 2 (1, Some(\"x\"))");
    for effect in 4..6 {
        let unguarded = order(1, json!([1, null])).send(&router).await;
        assert_eq!(unguarded.text(), format!("{effect} 1 (1, None)"));
    }
}
