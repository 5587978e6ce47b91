//! The routes.

use axum::{
    Extension, Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use idempotent_runtime::{Attempt, Idempotency, idempotent};
use serde_json::{Value, json};

use crate::{
    body::Body,
    ledger::{Ledger, Page},
    payment::{NewPayment, NewRefund, Payment},
    problem::Problem,
    request_log::request_log,
    simulate::{Simulate, drop_answer},
};

/// How many payments `GET /payments` shows at most.
const SHOWN: u32 = 100;

/// The API over `ledger`, guarded by `idempotency`.
pub(crate) fn router(ledger: Ledger, idempotency: Idempotency) -> Router {
    let guarded = Router::new()
        .route("/payments", post(pay))
        .route("/payments/{id}/refund", post(refund))
        // Outside of the guard: what is lost here was recorded before.
        .route_layer(middleware::from_fn(drop_answer));

    Router::new()
        .route("/payments", get(payments))
        .route("/payments/{id}", get(payment))
        .route("/health", get(health))
        .merge(guarded)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(idempotency))
        .layer(middleware::from_fn(request_log))
        .with_state(ledger)
}

/// However often a request is sent, it is paid once, and every sender gets the one answer.
#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn pay(
    State(ledger): State<Ledger>,
    simulate: Simulate,
    attempt: Attempt,
    Body(new): Body<NewPayment>,
) -> Result<Response, Problem> {
    simulate.before_effect(&attempt).await?;

    let mut transaction = ledger.begin().await?;
    let payment = transaction.pay(new, attempt.number()).await?;
    let answer = simulate.dress(created(&payment)).await;
    // The payment and the record of its answer: both or neither.
    let answer = transaction.commit(&attempt, answer).await?;
    simulate.after_effect();
    Ok(answer)
}

/// Over-refunds and unknown payments are answered by the handler, so they are final like any other
/// 4xx: a retry gets them again, even when a payment with this id exists by then. Where that would
/// be wrong, a handler adds `DoNotRecord` to its answer. A body that is no refund does not come here:
/// it is rejected before the guard, and its key is free.
///
/// A service with users says whose key it is; and an operation with a name of its own keeps its keys
/// when its route is renamed:
///
/// ```ignore
/// #[idempotent(
///     key = header("Idempotency-Key"), ttl = "24h",
///     scope = user.id, operation = "refund_payment",
/// )]
/// ```
#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn refund(
    State(ledger): State<Ledger>,
    id: Result<Path<u64>, PathRejection>,
    simulate: Simulate,
    attempt: Attempt,
    Body(NewRefund { amount }): Body<NewRefund>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::unknown_payment())?;
    simulate.before_effect(&attempt).await?;

    let mut transaction = ledger.begin().await?;
    let payment = transaction.refund(id, amount, attempt.number()).await?;
    let answer = simulate.dress(created(&payment)).await;
    let answer = transaction.commit(&attempt, answer).await?;
    simulate.after_effect();
    Ok(answer)
}

fn created(payment: &Payment) -> Response {
    let location = [(header::LOCATION, format!("/payments/{}", payment.id))];
    (StatusCode::CREATED, location, Json(payment)).into_response()
}

async fn payments(State(ledger): State<Ledger>) -> Result<Json<Page>, Problem> {
    Ok(Json(ledger.newest(SHOWN).await?))
}

async fn payment(
    State(ledger): State<Ledger>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Payment>, Problem> {
    let Path(id) = id.map_err(|_| Problem::unknown_payment())?;
    Ok(Json(ledger.payment(id).await?))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such resource")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this resource does not have this method")
}
