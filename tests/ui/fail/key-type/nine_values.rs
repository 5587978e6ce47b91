use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = (order.id, 1, 2, 3, 4, 5, 6, 7, 8))]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

fn main() {}
