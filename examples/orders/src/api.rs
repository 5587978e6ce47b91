//! The routes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{
        FromRequestParts, Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_extra::{
    TypedHeader,
    headers::{HeaderMapExt as _, IfMatch, IfNoneMatch},
};
use idempotent_runtime::{Attempt, Recorded, idempotent};
use idempotent_sqlx::RecordIn as _;
use serde_json::{Value, json};

use crate::{
    body::Body,
    database::Database,
    fault::Fault,
    order::{Change, NewOrder, Order, OrderPlaced},
    problem::Problem,
    shop::{self, Shop},
};

pub(crate) fn router<DB: Database>(shop: Arc<Shop<DB>>) -> Router {
    Router::new()
        .route("/orders", post(place_order::<DB>))
        .route("/orders/{id}", get(order::<DB>).put(change_order::<DB>))
        .route("/health", get(health))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shop)
}

/// Three things are committed or none: the order, the message that tells of it, and the record of
/// this answer. However often the request is sent, and whatever is killed when, there is one order,
/// one message, and one answer.
#[idempotent(
    key = header("Idempotency-Key"), ttl = "24h", lease = "5s",
    operation = "place_order", runtime = shop.idempotency,
)]
async fn place_order<DB: Database>(
    State(shop): State<Arc<Shop<DB>>>,
    attempt: Attempt,
    Body(new): Body<NewOrder>,
) -> Result<Recorded<Response>, Problem> {
    // Derived from the idempotency key: the same in every attempt.
    let id = attempt.downstream_key("order-placed");

    let mut transaction = shop.begin().await?;
    let order = shop::place(&mut transaction, &new, &id).await?;
    let placed = OrderPlaced { id, order: order.id };
    shop.outbox.enqueue(&mut transaction, placed.message()).await?;
    let answer = attempt.record_in(&mut transaction, created(&order)).await?;
    Fault::OrderWritten.reached(shop.fault).await;
    transaction.commit().await?;

    Fault::OrderCommitted.reached(shop.fault).await;
    shop.outbox.wake();
    tracing::info!(order = order.id, attempt = attempt.number(), "placed");
    Ok(answer)
}

fn created(order: &Order) -> Response {
    let location = [(header::LOCATION, format!("/orders/{}", order.id))];
    (StatusCode::CREATED, location, TypedHeader(order.etag()), Json(order)).into_response()
}

/// `If-None-Match` saves whoever waits for the shipment the same answer again and again.
async fn order<DB: Database>(
    State(shop): State<Arc<Shop<DB>>>,
    id: Result<Path<i64>, PathRejection>,
    seen: Option<TypedHeader<IfNoneMatch>>,
) -> Result<Response, Problem> {
    let order = known(&shop, id).await?;
    let etag = TypedHeader(order.etag());
    match seen {
        Some(seen) if !seen.precondition_passes(&etag) => {
            Ok((StatusCode::NOT_MODIFIED, etag).into_response())
        }
        _ => Ok((etag, Json(order)).into_response()),
    }
}

/// A version check, and no idempotency key: a `PUT` says how the order shall be, so sending it twice
/// does no more than once. What it must not do is to undo a change of somebody else, whom its sender
/// has not seen.
async fn change_order<DB: Database>(
    State(shop): State<Arc<Shop<DB>>>,
    id: Result<Path<i64>, PathRejection>,
    seen: Result<Seen, Problem>,
    body: Result<Json<Change>, JsonRejection>,
) -> Result<Response, Problem> {
    let mut order = known(&shop, id).await?;
    let Seen(seen) = seen?;
    let Json(change) = body?;
    loop {
        if !seen.precondition_passes(&order.etag()) {
            let detail = "the order has changed; read it again and decide again";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
        }
        if order.is_shipped() {
            return Err(Problem::new(StatusCode::CONFLICT, "the order is shipped"));
        }
        if let Some(order) = shop.change(order.id, order.version, &change).await? {
            tracing::info!(order = order.id, version = order.version, "changed");
            return Ok((TypedHeader(order.etag()), Json(order)).into_response());
        }
        // Somebody was faster: `If-Match` is asked again, and `*` does not mind.
        order = shop.order(order.id).await?.ok_or_else(Problem::unknown_order)?;
    }
}

/// `If-Match`, which has to be there. (`TypedHeader<IfMatch>` takes a missing one for an empty list.)
struct Seen(IfMatch);

impl<S: Sync> FromRequestParts<S> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match parts.headers.typed_try_get() {
            Ok(Some(seen)) => Ok(Self(seen)),
            Ok(None) => {
                let detail = "send If-Match with the ETag of the order that you have read";
                Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail))
            }
            Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("If-Match: {error}"))),
        }
    }
}

async fn known<DB: Database>(
    shop: &Shop<DB>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Order, Problem> {
    let Path(id) = id.map_err(|_| Problem::unknown_order())?;
    shop.order(id).await?.ok_or_else(Problem::unknown_order)
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
