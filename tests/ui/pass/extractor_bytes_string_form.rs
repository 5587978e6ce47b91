#![deny(warnings)]

use axum::{Form, Router, body::Bytes, routing::post};
use idempotent_runtime::idempotent;

#[derive(serde::Deserialize)]
struct NewPayment {
    reference: String,
    amount: u64,
}

#[idempotent(key = header("Idempotency-Key"))]
async fn bytes(body: Bytes) -> Bytes {
    body
}

#[idempotent(key = header("Idempotency-Key"))]
async fn string(body: String) -> String {
    body
}

#[idempotent(key = new.reference)]
async fn form(Form(new): Form<NewPayment>) -> String {
    new.amount.to_string()
}

pub fn main() {
    let _: Router = Router::new()
        .route("/bytes", post(bytes))
        .route("/string", post(string))
        .route("/form", post(form));
}
