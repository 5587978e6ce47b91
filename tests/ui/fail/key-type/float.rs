use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = amount)]
async fn create(Json(amount): Json<f64>) -> Json<f64> {
    Json(amount)
}

fn main() {}
