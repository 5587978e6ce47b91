#![deny(warnings)]

use axum::{Json, Router, routing::post};
use renamed::idempotent;

extern crate idempotent_runtime as renamed;

mod vendor {
    pub use idempotent_runtime as guard;
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h", record = success, crate = renamed)]
async fn by_name(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h", crate = self::vendor::guard)]
async fn by_path(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h", crate = ::idempotent_runtime)]
async fn by_absolute_path(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

pub fn main() {
    let _: Router = Router::new()
        .route("/name", post(by_name))
        .route("/path", post(by_path))
        .route("/absolute", post(by_absolute_path));
}
