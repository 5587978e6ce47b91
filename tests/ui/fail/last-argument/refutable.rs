use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(Some(amount)): Json<Option<u64>>) -> String {
    amount.to_string()
}

fn main() {}
