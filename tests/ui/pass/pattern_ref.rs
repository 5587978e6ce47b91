#![deny(warnings)]
//! Binding by reference, in a task of its own too: the argument is taken apart where the body is.

use axum::{Json, Router, extract::Path, routing::post};
use idempotent_runtime::{Guarded, idempotent};

#[idempotent(key = header("Idempotency-Key"))]
async fn shared(Json(ref amount): Json<u64>) -> String {
    tokio::task::yield_now().await;
    amount.to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn mutable(Json(ref mut amount): Json<u64>) -> String {
    *amount += 1;
    tokio::task::yield_now().await;
    amount.to_string()
}

#[idempotent(key = (first, "second"))]
async fn named(Path([ref first, ref second]): Path<[String; 2]>) -> String {
    format!("{first}{second}")
}

#[idempotent(key = reference.0)]
async fn whole(reference @ Json(_): Json<u64>) -> String {
    reference.0.to_string()
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    assert_eq!(shared(Guarded::unguarded(Json(7))).await.direct(), "7");
    assert_eq!(mutable(Guarded::unguarded(Json(7))).await.direct(), "8");
    let path = Path(["a".to_owned(), "b".to_owned()]);
    assert_eq!(named(Guarded::unguarded(path)).await.direct(), "ab");
    assert_eq!(whole(Guarded::unguarded(Json(7))).await.direct(), "7");
    let _: Router = Router::new()
        .route("/shared", post(shared))
        .route("/mutable", post(mutable))
        .route("/named/{a}/{b}", post(named))
        .route("/whole", post(whole));
}
