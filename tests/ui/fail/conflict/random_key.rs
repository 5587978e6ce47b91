use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = Uuid::new_v4())]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = rand::random().to_string())]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

fn main() {}
