//! The routes, one by one.

use http::StatusCode;
use serde_json::json;

use crate::{client::Call, world::World};

#[tokio::test]
async fn an_order_is_placed_once_and_shipped_once() {
    let world = World::embedded();
    let orders = world.start(&[]).await;
    let placed = orders.call(&Call::order("a")).await;
    assert_eq!(placed.placed(), "/orders/1");
    assert_eq!(placed.header("etag"), Some("\"1\""));
    let order = json!({
        "id": 1, "item": "lamp", "quantity": 2, "address": "1 Main Street", "status": "placed",
    });
    assert_eq!(placed.json(), order);
    world.settled(1).await;

    let again = orders.call(&Call::order("a")).await;
    assert!(again.is_replay());
    // The recorded answer, also of an order that is shipped by now.
    assert_eq!((again.body, again.headers.get("etag")), (placed.body, placed.headers.get("etag")));
    let shipped = orders.call(&Call::get("/orders/1")).await;
    assert_eq!((shipped.status, shipped.header("etag")), (StatusCode::OK, Some("\"2\"")));
    assert_eq!(shipped.json()["status"], "shipped");
    world.settled(1).await;
}

#[tokio::test]
async fn a_key_belongs_to_one_order() {
    let world = World::embedded();
    let orders = world.start(&["serve"]).await;
    orders.call(&Call::order("a")).await.placed();
    let body = r#"{"item": "lamp", "quantity": 3, "address": "1 Main Street"}"#;
    let other = Call::new("POST", "/orders").header("idempotency-key", "a").json(body);
    orders.call(&other).await.problem(422);
    let keyless = Call::new("POST", "/orders").json(body);
    orders.call(&keyless).await.problem(400);
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_told_and_nothing_is_placed() {
    let world = World::embedded();
    let orders = world.start(&["serve"]).await;
    let wrong = [
        r#"{"item": "lamp", "quantity": 0, "address": "1 Main Street"}"#,
        r#"{"item": "lamp", "quantity": 1001, "address": "1 Main Street"}"#,
        r#"{"item": "", "quantity": 1, "address": "1 Main Street"}"#,
        r#"{"item": "lamp", "quantity": 1, "address": "1 \u0000"}"#,
        r#"{"item": "lamp", "quantity": 1}"#,
        r#"{"item": "lamp", "quantity": 1, "address": "1 Main Street", "colour": "red"}"#,
        "[",
    ];
    for (number, body) in wrong.into_iter().enumerate() {
        let call = Call::new("POST", "/orders").header("idempotency-key", &number.to_string());
        orders.call(&call.json(body)).await.problem(400);
    }
    orders.call(&Call::get("/orders/1")).await.problem(404);
    // CASES 63: nothing was claimed.
    orders.call(&Call::order("0")).await.placed();
    orders.call(&Call::get("/orders/x")).await.problem(404);
    orders.call(&Call::new("DELETE", "/orders/1")).await.problem(405);
    orders.call(&Call::get("/")).await.problem(404);
    assert_eq!(orders.call(&Call::get("/health")).await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn who_has_seen_an_order_is_told_that_it_is_the_same() {
    let world = World::embedded();
    let orders = world.start(&["serve"]).await;
    orders.call(&Call::order("a")).await.placed();
    let seen = orders.call(&Call::get("/orders/1").header("if-none-match", "\"1\"")).await;
    assert_eq!((seen.status, seen.header("etag")), (StatusCode::NOT_MODIFIED, Some("\"1\"")));
    assert!(seen.body.is_empty());
    let old = orders.call(&Call::get("/orders/1").header("if-none-match", "\"0\"")).await;
    assert_eq!(old.status, StatusCode::OK);
}
