use std::rc::Rc;

use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>) -> String {
    let amount = Rc::new(amount);
    tokio::task::yield_now().await;
    amount.to_string()
}

fn main() {}
