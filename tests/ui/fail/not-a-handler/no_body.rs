use axum::Json;
use idempotent_runtime::idempotent;

trait Payments {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(amount: Json<u64>) -> Json<u64>;
}

fn main() {}
