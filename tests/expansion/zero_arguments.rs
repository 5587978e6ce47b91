//! A handler without arguments gets one: the guard needs the request.

use axum::{Router, routing::post};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn tick() {
    println!("tick");
}

pub fn main() {
    let _: Router = Router::new().route("/ticks", post(tick));
}
