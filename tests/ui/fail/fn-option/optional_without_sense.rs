use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = fingerprint, optional)]
async fn create(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
