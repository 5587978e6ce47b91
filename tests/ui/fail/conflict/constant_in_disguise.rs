use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = KEY)]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = format!("payments"))]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = Some(7))]
async fn three(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

const KEY: &str = "key";

fn main() {}
