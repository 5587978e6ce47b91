use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
#[utoipa::path(post, path = "/payments", request_body = u64)]
async fn create(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
