#![deny(warnings)]
//! A body, a header and a key that a macro hands on arrive in invisible groups.

use axum::{Json, Router, routing::post};
use idempotent_runtime::{Error, Idempotency, idempotent, idempotent_fn};

macro_rules! handler {
    ($name:ident, $header:literal, $body:block) => {
        #[idempotent(key = header($header))]
        async fn $name(Json(_amount): Json<u64>) -> String $body
    };
    ($name:ident, expr $header:expr, $body:block) => {
        #[idempotent(key = header($header))]
        async fn $name(Json(_): Json<u64>) -> String $body
    };
}
handler!(literal, "Idempotency-Key", { "literal".to_owned() });
handler!(expression, expr "Idempotency-Key", { "expression".to_owned() });

macro_rules! function {
    ($name:ident, $key:expr, $body:block) => {
        #[idempotent_fn(key = ($key, id), runtime = runtime)]
        async fn $name(runtime: &Idempotency, id: u64) -> Result<String, Error> $body
    };
}
function!(function, "key", { Ok("function".to_owned()) });

pub fn main() {
    let _: Router =
        Router::new().route("/literal", post(literal)).route("/expression", post(expression));
    let _ = function;
}
