#![deny(warnings)]
#![warn(unreachable_pub)]
//! Lints are the user's: what the compiler says of a function it says with the attribute too, and nothing
//! else. An expectation that is not met is a warning, and here an error.

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::{Error, Idempotency, idempotent, idempotent_fn};

#[expect(dead_code)]
#[idempotent(key = header("Idempotency-Key"))]
async fn unrouted(Json(amount): Json<u64>) -> String {
    amount.to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
#[expect(dead_code)]
async fn unrouted_below(Json(amount): Json<u64>) -> String {
    amount.to_string()
}

#[expect(dead_code)]
#[idempotent_fn(key = id, runtime = runtime)]
async fn uncalled(runtime: &Idempotency, id: u64) -> Result<u64, Error> {
    Ok(id)
}

struct Service;

impl Service {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn routed(Json(amount): Json<u64>) -> String {
        amount.to_string()
    }

    #[expect(dead_code)]
    #[idempotent(key = header("Idempotency-Key"))]
    async fn unrouted(Json(amount): Json<u64>) -> String {
        amount.to_string()
    }

    #[expect(dead_code)]
    fn neighbour() {}
}

struct Private(u64);

#[expect(unreachable_pub)]
#[idempotent(key = header("Idempotency-Key"))]
pub async fn reachable(Json(amount): Json<u64>) -> String {
    amount.to_string()
}

#[expect(unreachable_pub)]
#[idempotent_fn(key = id, operation = "reachable function", runtime = runtime)]
pub async fn reachable_function(runtime: &Idempotency, id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[expect(private_interfaces)]
#[idempotent(key = header("Idempotency-Key"))]
pub(crate) async fn exposed(State(private): State<Private>) -> String {
    private.0.to_string()
}

#[expect(unused_variables)]
#[idempotent(key = header("Idempotency-Key"))]
async fn unused(State(app): State<u64>, Json(amount): Json<u64>) -> String {
    "unused".to_owned()
}

#[expect(unused_variables)]
#[idempotent_fn(key = id, operation = "unused", runtime = runtime)]
async fn unused_in_a_function(runtime: &Idempotency, id: u64, amount: u64) -> Result<u64, Error> {
    Ok(1)
}

#[idempotent(key = header("Idempotency-Key"))]
async fn unused_argument(
    #[expect(unused_variables)] State(app): State<u64>,
    Json(amount): Json<u64>,
) -> String {
    amount.to_string()
}

#[expect(unused_mut)]
#[idempotent(key = header("Idempotency-Key"))]
async fn needlessly_mutable(Json(mut amount): Json<u64>) -> String {
    amount.to_string()
}

#[expect(unused_assignments)]
#[idempotent(key = header("Idempotency-Key"))]
async fn never_read(Json(mut amount): Json<u64>) -> String {
    amount = 7;
    amount.to_string()
}

/// A name that an option uses is used, and one that it changes is changed.
#[idempotent(key = (id, amount), runtime = app)]
async fn used_by_options(
    State(app): State<Idempotency>,
    axum::extract::Path(id): axum::extract::Path<u64>,
    Json(amount): Json<u64>,
) -> String {
    "used".to_owned()
}

#[idempotent(key = amount)]
async fn changed(Json(mut amount): Json<u64>) -> String {
    amount += 1;
    amount.to_string()
}

#[expect(unreachable_code)]
#[idempotent(key = header("Idempotency-Key"))]
async fn unreachable(Json(amount): Json<u64>) -> String {
    return amount.to_string();
    std::process::abort();
}

/// Nothing is allowed behind the user's back.
#[forbid(unreachable_code, unused_variables, unused_mut, clippy::empty_loop, clippy::let_unit_value)]
#[idempotent(key = header("Idempotency-Key"))]
async fn forbidding(State(_app): State<u64>, _: (), Json(amount): Json<u64>) -> String {
    amount.to_string()
}

#[allow(unreachable_pub)] // called by the tests
pub fn main() {
    let _ = Service::routed;
    let _ = exposed;
    let _: Router<u64> = Router::new()
        .route("/unused", post(unused))
        .route("/argument", post(unused_argument))
        .route("/mutable", post(needlessly_mutable))
        .route("/never", post(never_read))
        .route("/changed", post(changed))
        .route("/unreachable", post(unreachable))
        .route("/forbidding", post(forbidding));
    let _: Router<Idempotency> = Router::new().route("/used", post(used_by_options));
    let _ = unused_in_a_function;
    let _ = (reachable, reachable_function);
}
