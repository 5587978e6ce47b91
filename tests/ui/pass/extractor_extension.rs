#![deny(warnings)]

use axum::{Extension, Json, Router, routing::post};
use idempotent_runtime::idempotent;

#[derive(Clone)]
struct User {
    id: u64,
}

#[idempotent(key = header("Idempotency-Key"), scope = user.id)]
async fn last(Extension(user): Extension<User>) -> String {
    user.id.to_string()
}

#[idempotent(key = header("Idempotency-Key"), scope = user.as_ref().map(|user| user.id))]
async fn not_last(user: Option<Extension<User>>, Json(amount): Json<u64>) -> String {
    user.map_or(amount, |Extension(user)| user.id).to_string()
}

pub fn main() {
    let _: Router = Router::new()
        .route("/last", post(last))
        .route("/not-last", post(not_last))
        .layer(Extension(User { id: 1 }));
}
