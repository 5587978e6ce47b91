//! Everything in one process, which is killed: `SQLite`, and a channel that is gone with it.

use crate::{client::Call, world::World};

/// Kills the process at `fault`, starts another one, and sends the request again.
async fn killed_at(fault: &str, attempt: &str) {
    let world = World::embedded();
    let orders = world.start(&["all", "--fault", fault]).await;
    let (call, address) = (Call::order("a"), orders.address());
    let first = tokio::spawn({
        let call = call.clone();
        async move { crate::client::Client::new(address).send(&call).await }
    });
    orders.at_fault().await;
    orders.kill().await;
    let first = first.await.unwrap();

    let orders = world.start(&["all"]).await;
    let second = orders.call(&call).await;
    second.placed();
    if let Ok(first) = first {
        assert!(second.is_replay());
        assert_eq!(first.body, second.body);
    }
    world.settled(1).await;
    assert!(orders.log().iter().any(|line| line.contains(attempt)), "{:#?}", orders.log());
}

/// Nothing of it happened; another attempt places the order when the lease is over.
#[tokio::test]
async fn killed_before_the_order_is_committed() {
    killed_at("order-written", "placed order=1 attempt=2").await;
}

/// All of it happened, and nobody was told: the retry is.
#[tokio::test]
async fn killed_before_the_order_is_answered() {
    killed_at("order-committed", "operation=place_order key=").await;
}

/// The channel had the message, and the consumer may have shipped: it is delivered again.
#[tokio::test]
async fn killed_before_a_message_is_marked() {
    killed_at("message-published", "operation=ship_order key=").await;
}

#[tokio::test]
async fn killed_before_a_shipment_is_committed() {
    killed_at("shipment-written", "shipped order=1 attempt=2").await;
}

/// The delivery after the crash finds the record.
#[tokio::test]
async fn killed_before_a_message_is_acknowledged() {
    killed_at("shipment-committed", "outcome=\"replayed\"").await;
}
