#![deny(warnings)]
//! A trait for everything, with the names that generated code calls.

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::{Guarded, Idempotency, idempotent};

trait Everything: Sized {
    fn guard(&self) -> u64 {
        7
    }
    fn take(&self) -> u64 {
        7
    }
    fn first(&self) -> u64 {
        7
    }
    fn key_header(&self) -> u64 {
        7
    }
    fn unless_recorded(&self) -> u64 {
        7
    }
    fn runtime(&self) -> u64 {
        7
    }
    fn scope(&self) -> u64 {
        7
    }
    fn fingerprint(&self) -> u64 {
        7
    }
}
impl<T> Everything for T {}

#[idempotent(key = header("Idempotency-Key"), runtime = app, scope = user.0, fingerprint = user.0)]
async fn create(State(app): State<Idempotency>, user: Json<u64>) -> String {
    let sum = user.guard() + user.take() + user.first();
    (sum + user.key_header() + user.unless_recorded() + app.runtime() + app.scope()).to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn late(Json(amount): Json<u64>) -> String {
    amount.fingerprint().to_string()
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    assert_eq!(late(Guarded::unguarded(Json(1))).await.direct(), "7");
    let _: Router<Idempotency> =
        Router::new().route("/", post(create)).route("/late", post(late));
}
