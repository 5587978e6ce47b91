use axum::http::HeaderMap;
use idempotent_runtime::idempotent;

#[idempotent(key = headers["x-request-id"])]
async fn create(headers: HeaderMap) -> String {
    headers.len().to_string()
}

fn main() {}
