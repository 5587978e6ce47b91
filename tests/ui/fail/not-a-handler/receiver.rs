use axum::Json;
use idempotent_runtime::idempotent;

struct Payments;

impl Payments {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(&self, Json(amount): Json<u64>) -> Json<u64> {
        Json(amount)
    }
}

fn main() {
    drop(Payments.create(Json(1)));
}
