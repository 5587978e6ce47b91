use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent = "Idempotency-Key"]
async fn create(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
