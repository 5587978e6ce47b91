#![deny(warnings)]

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::idempotent;
use serde::de::DeserializeOwned;

trait Repository: Clone + Send + Sync {
    async fn add(&self, amount: u64) -> u64;
}

#[derive(Clone)]
struct InMemory;

impl Repository for InMemory {
    async fn add(&self, amount: u64) -> u64 {
        amount
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn bound<R: Repository, const FEE: u64>(
    State(_repository): State<R>,
    Json(amount): Json<u64>,
) -> String {
    (amount + FEE).to_string()
}

#[idempotent(key = header("Idempotency-Key"), scope = repository.name())]
async fn where_clause<R, T>(State(repository): State<R>, Json(new): Json<T>) -> String
where
    R: Clone + Send + Named,
    T: DeserializeOwned + ToString + Send,
{
    new.to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn already_static<T: DeserializeOwned + Send + 'static>(_: Json<T>) {}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline<T>(_: Json<T>)
where
    T: DeserializeOwned,
{
}

trait Named {
    fn name(&self) -> String;
}

impl Named for InMemory {
    fn name(&self) -> String {
        "in memory".into()
    }
}

pub fn main() {
    drop(InMemory.add(1));
    let _: Router = Router::new()
        .route("/bound", post(bound::<InMemory, 2>))
        .route("/where", post(where_clause::<InMemory, u64>))
        .route("/static", post(already_static::<u64>))
        .route("/inline", post(inline::<u64>))
        .with_state(InMemory);
}
