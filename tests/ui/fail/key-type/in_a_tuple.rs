use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), fingerprint = (new.0, new.1))]
async fn create(Json(new): Json<(u64, f32)>) -> Json<u64> {
    Json(new.0)
}

fn main() {}
