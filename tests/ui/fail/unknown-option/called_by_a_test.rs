use axum::Json;
use idempotent_runtime::{Guarded, idempotent};

#[idempotent(key = header("Idempotency-Key"), tttl = "24h")]
async fn create(Json(amount): Json<u64>) -> String {
    amount.to_string()
}

async fn a_test() {
    assert_eq!(create(Guarded::unguarded(Json(7))).await.direct(), "7");
}

fn main() {}
