use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = order.reference.into_bytes())]
async fn create(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
}

fn main() {}
