use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(ttl = "24x", retries = 3)]
fn create(amount: u64, Json(ref currency): Json<String>) -> String {
    currency.clone()
}

fn main() {}
