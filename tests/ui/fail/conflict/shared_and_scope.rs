use axum::{Extension, Json};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), scope = user, shared)]
async fn create(Extension(user): Extension<u64>, Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
