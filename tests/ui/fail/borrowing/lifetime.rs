use axum::{Json, extract::State};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create<'a>(State(name): State<&'a str>, Json(amount): Json<u64>) -> String {
    format!("{name}{amount}")
}

fn main() {}
