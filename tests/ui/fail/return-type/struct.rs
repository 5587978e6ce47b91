use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>) -> Payment {
    Payment(amount)
}

struct Payment(u64);

fn main() {}
