use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"), scope = "payments")]
async fn one(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = 1 + 1)]
async fn two(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = TENANT)]
async fn three(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = format!("x"))]
async fn four(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = "x".to_owned())]
async fn five(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = Some("x"))]
async fn six(Json(order): Json<Order>) -> String {
    order.reference
}

#[idempotent(key = header("Idempotency-Key"), scope = { "x" })]
async fn seven(Json(order): Json<Order>) -> String {
    order.reference
}

#[derive(serde::Deserialize)]
struct Order {
    reference: String,
    id: Option<u64>,
}

const TENANT: &str = "tenant";

fn main() {}
