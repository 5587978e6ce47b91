#![deny(warnings)]

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::idempotent;

#[derive(Clone)]
struct App;

#[derive(serde::Deserialize)]
struct NewPayment {
    amount: u64,
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create_payment(State(_app): State<App>, Json(new): Json<NewPayment>) -> Json<u64> {
    Json(new.amount)
}

pub fn main() {
    let _: Router = Router::new().route("/payments", post(create_payment)).with_state(App);
}
