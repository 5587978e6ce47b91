#![deny(warnings)]
#![allow(clippy::unwrap_used)]

use axum::{Json, Router, extract::Path, http::StatusCode, routing::post};
use idempotent_runtime::idempotent;
use utoipa::OpenApi as _;

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct NewPayment {
    amount: u64,
}

/// Pays into an account.
#[utoipa::path(
    post,
    path = "/accounts/{id}/payments",
    request_body = NewPayment,
    responses((status = 201, description = "paid"))
)]
#[idempotent(key = header("Idempotency-Key"))]
async fn create(Path(id): Path<u64>, Json(new): Json<NewPayment>) -> StatusCode {
    if id + new.amount > 0 { StatusCode::CREATED } else { StatusCode::BAD_REQUEST }
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(create))]
struct Api;

pub fn main() {
    let _: Router = Router::new().route("/accounts/{id}/payments", post(create));
    let api = Api::openapi();
    let path = &api.paths.paths["/accounts/{id}/payments"];
    let operation = path.post.as_ref().unwrap();
    assert!(operation.request_body.is_some());
    assert_eq!(operation.parameters.as_ref().map(Vec::len), Some(1));
    assert_eq!(operation.summary.as_deref(), Some("Pays into an account."));
}
