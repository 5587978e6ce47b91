use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(ttl = "24h", lease = "30s")]
async fn create(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
