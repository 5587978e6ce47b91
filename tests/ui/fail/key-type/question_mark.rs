use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = order.id?)]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = (order.id?, 7))]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

fn main() {}
