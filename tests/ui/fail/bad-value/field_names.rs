use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), fingerprint_headers = ["X-Account", "x account"])]
async fn one(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

#[idempotent(key = header("Idempotency-Key"), fingerprint_headers = "X-Account")]
async fn two(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

#[idempotent(key = header("Idempotency-Key"), fingerprint = (amount, hash(amount)))]
async fn three(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
