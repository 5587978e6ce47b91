#![deny(warnings)]

use std::{cell::Cell, rc::Rc};

use axum::{Json, extract::State};
use idempotent_runtime::{Guarded, idempotent};

/// Not `Send` across an await point, and reading a task-local.
#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn not_send(State(fee): State<u64>, Json(amount): Json<u64>) -> String {
    let count = Rc::new(Cell::new(amount));
    tokio::task::yield_now().await;
    count.set(count.get() + fee + TENANT.get());
    count.get().to_string()
}

/// Binding by reference, and with a lifetime.
#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn borrows(State(name): State<&str>, Json(ref amount): Json<u64>) -> String {
    format!("{name}{amount}")
}

#[idempotent(key = header("Idempotency-Key"), spawn = true)]
async fn spawned(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

tokio::task_local! { static TENANT: u64; }

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    let call = not_send(State(1), Guarded::unguarded(Json(2)));
    assert_eq!(TENANT.scope(4, call).await.direct(), "7");
    let name = String::from("n");
    assert_eq!(borrows(State(&name), Guarded::unguarded(Json(2))).await.direct(), "n2");
    assert_eq!(spawned(Guarded::unguarded(Json(2))).await.direct().0, 2);
}
