#![deny(warnings)]

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Method},
    routing::post,
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), scope = scope)]
async fn body_in_a_tuple(
    (method, headers, State(scope), Json(amount)): (Method, HeaderMap, State<u64>, Json<u64>),
) -> String {
    format!("{method} {} {scope} {amount}", headers.len())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn parts_in_a_tuple((_, headers): (Method, HeaderMap)) -> String {
    headers.len().to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn empty_tuple((): ()) {}

pub fn main() {
    let _: Router = Router::new()
        .route("/body", post(body_in_a_tuple))
        .route("/parts", post(parts_in_a_tuple))
        .route("/empty", post(empty_tuple))
        .with_state(1);
}
