#![deny(warnings)]

use axum::{Json, Router, http::Method, routing::post};
use idempotent_runtime::idempotent;

#[tracing::instrument(fields(amount = new.0), skip_all, err)]
#[idempotent(key = header("Idempotency-Key"), fingerprint = new.0)]
async fn above(method: Method, new: Json<u64>) -> Result<String, String> {
    tracing::info!(%method, "inside");
    let Some(half) = new.0.checked_div(2) else { return Err("no".into()) };
    Ok(half.to_string())
}

#[tracing::instrument]
#[idempotent(key = header("Idempotency-Key"))]
async fn above_with_arguments(method: Method, _: Method, Json(new): Json<u64>) {
    tracing::info!(%method, new, "inside");
}

#[idempotent(key = header("Idempotency-Key"))]
#[tracing::instrument(skip_all)]
async fn below(_new: Json<u64>) -> &'static str {
    "inside"
}

pub fn main() {
    let _: Router = Router::new()
        .route("/above", post(above))
        .route("/arguments", post(above_with_arguments))
        .route("/below", post(below));
}
