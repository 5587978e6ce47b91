#![deny(warnings)]

use axum::{Router, body::to_bytes, extract::Request, http::StatusCode, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn whole_request(request: Request) -> Result<String, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1024).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(format!("{} {}", parts.uri, body.len()))
}

pub fn main() {
    let _: Router = Router::new().route("/", post(whole_request));
}
