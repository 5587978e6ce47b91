use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>) -> Result<Json<u64>, std::num::ParseIntError> {
    Ok(Json(amount + "1".parse::<u64>()?))
}

fn main() {}
