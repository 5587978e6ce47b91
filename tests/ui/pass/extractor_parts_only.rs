#![deny(warnings)]

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, Uri},
    routing::post,
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn path(Path((account, payment)): Path<(u64, String)>) -> String {
    format!("{account}/{payment}")
}

#[idempotent(key = id)]
async fn query(Path(_): Path<(u64, String)>, Query(id): Query<Vec<(String, String)>>) -> String {
    format!("{id:?}")
}

#[idempotent(key = header("Idempotency-Key"))]
async fn state(State(account): State<u64>) -> String {
    account.to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn parts(method: Method, uri: Uri, headers: HeaderMap) -> (HeaderMap, String) {
    (headers, format!("{method} {uri}"))
}

pub fn main() {
    let _: Router = Router::new()
        .route("/path/{account}/{payment}", post(path))
        .route("/query/{account}/{payment}", post(query))
        .route("/state", post(state))
        .route("/parts", post(parts))
        .with_state(1);
}
