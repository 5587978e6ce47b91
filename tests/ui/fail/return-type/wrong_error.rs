use axum::{
    Json,
    response::{IntoResponse, Response},
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>) -> Result<String, ApiError> {
    let amount = u8::try_from(amount)?;
    Ok(amount.to_string())
}

struct ApiError;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        ().into_response()
    }
}

fn main() {}
