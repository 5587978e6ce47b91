#![deny(warnings)]

use axum::{
    Json, Router,
    extract::{Path, rejection::JsonRejection},
    http::StatusCode,
    routing::post,
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn body_or_none(amount: Option<Json<u64>>) -> String {
    amount.map_or(0, |Json(amount)| amount).to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn body_or_why_not(amount: Result<Json<u64>, JsonRejection>) -> Result<String, StatusCode> {
    let Json(amount) = amount.map_err(|rejection| rejection.status())?;
    Ok(amount.to_string())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn path_or_none(id: Option<Path<u64>>) -> String {
    format!("{:?}", id.map(|Path(id)| id))
}

pub fn main() {
    let _: Router = Router::new()
        .route("/body-or-none", post(body_or_none))
        .route("/body-or-why-not", post(body_or_why_not))
        .route("/path-or-none", post(path_or_none));
}
