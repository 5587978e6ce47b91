use axum::{Router, routing::post};
use idempotent_runtime::idempotent;

struct Amount(u64);

#[idempotent(key = header("Idempotency-Key"))]
async fn create(amount: Amount) -> String {
    amount.0.to_string()
}

fn main() {
    let _: Router = Router::new().route("/", post(create));
}
