use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key").to_lowercase())]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header(&order.reference, "X"))]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

fn main() {}
