#![deny(warnings)]

use axum::{Json, Router, routing::post};
use idempotent_runtime::{Attempt, idempotent};

#[idempotent(key = header("Idempotency-Key"))]
async fn not_last(attempt: Attempt, Json(amount): Json<u64>) -> String {
    format!("{} {amount} {}", attempt.number(), attempt.downstream_key("stripe"))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn last(attempt: Attempt) -> String {
    tokio::select! {
        () = attempt.lease_lost() => "lost".into(),
        () = tokio::task::yield_now() => format!("{:?}", attempt.fencing_token()),
    }
}

pub fn main() {
    let _: Router = Router::new().route("/not-last", post(not_last)).route("/last", post(last));
}
