#![deny(warnings)]

use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn nothing(Json(amount): Json<u64>) {
    drop(amount);
}

#[idempotent(key = header("Idempotency-Key"))]
async fn unit(Json(amount): Json<u64>) -> () {
    if amount == 0 {
        return;
    }
    drop(amount);
}

#[idempotent(key = header("Idempotency-Key"))]
async fn empty() {}

fn main() {
    let _: Router = Router::new()
        .route("/nothing", post(nothing))
        .route("/unit", post(unit))
        .route("/empty", post(empty));
}
