//! The handler under the attribute.

use axum::{Extension, Json, Router, extract::State, http::StatusCode, routing::post};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};

use crate::{App, NewPayment, PATH, Payment};

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create(
    State(app): State<App>,
    Json(new): Json<NewPayment>,
) -> (StatusCode, Json<Payment>) {
    app.pay(new)
}

/// The handler under `#[idempotent]`, its keys in `store`.
pub fn ours(app: &App, store: MemoryStore) -> Router {
    Router::new()
        .route(PATH, post(create))
        .layer(Extension(Idempotency::new(store)))
        .with_state(app.clone())
}
