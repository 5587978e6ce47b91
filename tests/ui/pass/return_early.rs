#![deny(warnings)]
#![allow(clippy::needless_return)]

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::post,
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn early(Json(amounts): Json<Vec<u64>>) -> Response {
    for amount in &amounts {
        if *amount > 100 {
            return "too much".into_response();
        }
    }
    loop {
        if amounts.len() < 100 {
            return ().into_response();
        }
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn only_return(Json(amount): Json<u64>) -> String {
    return amount.to_string();
}

#[idempotent(key = header("Idempotency-Key"))]
async fn coerced(Json(amount): Json<u64>) -> Box<[u8]> {
    match amount {
        0 => return Box::new([]),
        _ => Box::new([1, 2, 3]),
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn unfinished() -> Response {
    todo!("and yet it compiles")
}

pub fn main() {
    let _: Router = Router::new()
        .route("/early", post(early))
        .route("/only", post(only_return))
        .route("/coerced", post(coerced))
        .route("/unfinished", post(unfinished));
}
