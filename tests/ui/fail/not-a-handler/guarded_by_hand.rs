use axum::Json;
use idempotent_runtime::{Guarded, idempotent};

#[idempotent(key = header("Idempotency-Key"))]
async fn create(amount: Guarded<Json<u64>>) -> String {
    drop(amount);
    String::new()
}

fn main() {}
