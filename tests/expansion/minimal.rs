//! The attribute as most handlers have it.

use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create_payment(Json(amount): Json<u64>) -> Result<Json<u64>, String> {
    let fee = amount.checked_div(100).ok_or("no fee")?;
    Ok(Json(amount + fee))
}

pub fn main() {
    let _: Router = Router::new().route("/payments", post(create_payment));
}
