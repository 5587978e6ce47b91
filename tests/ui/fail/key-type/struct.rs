use axum::{Extension, Json};
use idempotent_runtime::idempotent;

#[derive(Clone)]
struct User;

#[idempotent(key = header("Idempotency-Key"), scope = user)]
async fn create(Extension(user): Extension<User>, Json(amount): Json<u64>) -> Json<u64> {
    drop(user);
    Json(amount)
}

fn main() {}
