#![deny(warnings)]

use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn nothing(Json(amount): Json<String>) {
    drop(amount);
}

#[idempotent(key = header("Idempotency-Key"))]
async fn unit(Json(amount): Json<String>) -> () {
    if amount.is_empty() {
        return;
    }
    drop(amount);
}

#[idempotent(key = header("Idempotency-Key"))]
async fn empty() {}

pub fn main() {
    let _: Router = Router::new()
        .route("/nothing", post(nothing))
        .route("/unit", post(unit))
        .route("/empty", post(empty));
}
