#![deny(warnings)]

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use idempotent_runtime::idempotent;

#[axum::debug_handler]
#[idempotent(key = header("Idempotency-Key"))]
async fn above(State(fee): State<u64>, Json(amount): Json<u64>) -> Result<Json<u64>, StatusCode> {
    Ok(Json(amount + fee))
}

#[idempotent(key = header("Idempotency-Key"))]
#[axum::debug_handler]
async fn below(State(fee): State<u64>, Json(amount): Json<u64>) -> Result<Json<u64>, StatusCode> {
    Ok(Json(amount + fee))
}

/// Without arguments it has to stand below: above, it would call the handler without the argument
/// that the guard adds.
#[idempotent(key = header("Idempotency-Key"))]
#[axum::debug_handler]
async fn no_arguments() {}

pub fn main() {
    let _: Router = Router::new()
        .route("/above", post(above))
        .route("/below", post(below))
        .route("/none", post(no_arguments))
        .with_state(1);
}
