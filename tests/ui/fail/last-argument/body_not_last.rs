use axum::{Json, Router, http::Method, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Json(amount): Json<u64>, method: Method) -> String {
    format!("{amount} {method}")
}

fn main() {
    let _: Router = Router::new().route("/", post(create));
}
