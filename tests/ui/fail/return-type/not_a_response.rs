use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>) -> u64 {
    amount
}

fn main() {}
