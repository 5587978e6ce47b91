#![deny(warnings)]

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use idempotent_runtime::idempotent;

enum ApiError {
    Negative,
    Number,
}

impl From<std::num::TryFromIntError> for ApiError {
    fn from(_: std::num::TryFromIntError) -> Self {
        Self::Number
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Negative => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Number => StatusCode::BAD_REQUEST,
        }
        .into_response()
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn convert(Json(amount): Json<i64>) -> Result<Json<u8>, ApiError> {
    if amount < 0 {
        Err(ApiError::Negative)?;
    }
    Ok(Json(u8::try_from(amount)?))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn never_fails(Json(amount): Json<i64>) -> Result<Json<i64>, ApiError> {
    Ok(Json(amount))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn always_fails() -> Result<Json<i64>, ApiError> {
    Err(ApiError::Negative)
}

pub fn main() {
    let _: Router = Router::new()
        .route("/convert", post(convert))
        .route("/never", post(never_fails))
        .route("/always", post(always_fails));
}
