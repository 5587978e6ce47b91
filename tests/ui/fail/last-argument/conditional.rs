use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(fee): Json<u64>, #[cfg(all())] Json(amount): Json<u64>) -> Json<u64> {
    Json(fee + amount)
}

fn main() {}
