use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async unsafe fn dangerous(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

#[idempotent(key = header("Idempotency-Key"))]
async extern "C" fn foreign(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
