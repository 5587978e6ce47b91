#![deny(warnings)]

use axum::{
    Json, Router,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use idempotent_runtime::{KeyEncoder, KeyPart, idempotent};

struct OrderId(u64);

impl KeyPart for OrderId {
    fn encode(&self, encoder: &mut KeyEncoder) {
        self.0.encode(encoder);
    }
}

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
    reference: String,
    lines: Vec<String>,
    note: Option<String>,
}

impl Order {
    fn id(&self) -> OrderId {
        OrderId(self.id)
    }
}

/// Nothing here may move out of the argument: the body still has all of it.
#[idempotent(key = order.reference, scope = (region, account), fingerprint = (order.lines, order.note))]
async fn fields(
    State(region): State<String>,
    Path(account): Path<u64>,
    Json(order): Json<Order>,
) -> String {
    let Order { id, reference, lines, note } = order;
    format!("{region}{account}{id}{reference}{lines:?}{note:?}")
}

#[idempotent(
    key = (order.reference, (order.note, account), order.lines[0]),
    scope = match account { 0 => None, other => Some(other) },
    fingerprint = (&order.lines, order.id()),
)]
async fn nested_tuples(Path(account): Path<u64>, Json(order): Json<Order>) -> String {
    let Order { reference, lines, note, .. } = order;
    format!("{account}{reference}{lines:?}{note:?}")
}

#[idempotent(key = format!("{account}-{}", order.id), scope = 1 + account)]
async fn computed(Path(account): Path<u64>, Json(order): Json<Order>) -> String {
    let Order { id, .. } = order;
    format!("{account}{id}")
}

#[idempotent(key = order.id(), scope = if account == 0 { None } else { Some(account) })]
async fn own_type(
    Path(account): Path<u64>,
    headers: HeaderMap,
    Json(order): Json<Order>,
) -> String {
    format!("{account}{}{}", headers.len(), order.id)
}

pub fn main() {
    let _: Router = Router::new()
        .route("/fields/{account}", post(fields))
        .route("/tuples/{account}", post(nested_tuples))
        .route("/computed/{account}", post(computed))
        .route("/own/{account}", post(own_type))
        .with_state(String::new());
}
