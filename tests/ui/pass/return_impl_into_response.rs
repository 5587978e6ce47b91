#![deny(warnings)]

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn opaque(Json(amount): Json<u64>) -> impl IntoResponse {
    if amount == 0 {
        return (StatusCode::BAD_REQUEST, Json(0));
    }
    (StatusCode::CREATED, Json(amount))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn opaque_inside(Json(amount): Json<u64>) -> Result<(StatusCode, impl IntoResponse), String> {
    let half = amount.checked_div(2).ok_or("too small")?;
    let half = u32::try_from(half).map_err(|error| error.to_string())?;
    Ok((StatusCode::CREATED, Json(half)))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn opaque_twice(ok: Json<bool>) -> Result<impl IntoResponse, impl IntoResponse> {
    if ok.0 { Ok(StatusCode::CREATED) } else { Err("no") }
}

pub fn main() {
    let _: Router = Router::new()
        .route("/opaque", post(opaque))
        .route("/inside", post(opaque_inside))
        .route("/twice", post(opaque_twice));
}
