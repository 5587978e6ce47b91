#![deny(warnings)]

use axum::{Json, Router, extract::Path, http::HeaderMap, routing::post};
use idempotent_runtime::idempotent;

#[derive(serde::Deserialize)]
struct NewPayment {
    amount: u64,
}

#[idempotent(key = header("Idempotency-Key"), fingerprint = new.amount)]
async fn changed(
    mut headers: HeaderMap,
    Path(mut id): Path<u64>,
    Json(mut new): Json<NewPayment>,
) -> String {
    headers.clear();
    id += 1;
    new.amount += id;
    format!("{} {}", headers.len(), new.amount)
}

#[idempotent(key = header("Idempotency-Key"))]
async fn changed_whole(mut new: Json<NewPayment>) -> String {
    new.amount += 1;
    new.0.amount.to_string()
}

pub fn main() {
    let _: Router = Router::new().route("/{id}", post(changed)).route("/", post(changed_whole));
}
