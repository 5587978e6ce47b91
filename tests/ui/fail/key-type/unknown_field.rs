use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), scope = order.tenant)]
async fn create(Json(order): Json<Order>) -> Json<u64> {
    Json(order.id)
}

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
}

fn main() {}
