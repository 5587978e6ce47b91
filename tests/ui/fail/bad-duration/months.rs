use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), ttl = "1M")]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), ttl = "1h 30 M")]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

fn main() {}
