//! Each part in a process of its own, on `PostgreSQL` and NATS; each is killed between two steps.
//! Every test ends with one shipment for each order, and nothing that disagrees.

use async_nats::jetstream::Context;
use bytes::Bytes;

use crate::{
    client::{Call, Client},
    process::Process,
    world::World,
};

/// What the broker was given for the first order.
async fn message_of_the_first(context: &Context) -> Bytes {
    let stream = context.get_stream("ORDERS").await.unwrap();
    stream.get_raw_message(1).await.unwrap().payload
}

async fn placed(world: &World) -> Process {
    let serve = world.start(&["serve"]).await;
    serve.call(&Call::order("a")).await.placed();
    serve
}

/// A broker delivers at least once: here, eight times.
#[tokio::test]
async fn a_message_that_is_delivered_again_and_again_ships_once() {
    let Some(world) = World::real() else { return };
    let _serve = placed(&world).await;
    let _relay = world.start(&["relay"]).await;
    let consumers = [world.start(&["consume"]).await, world.start(&["consume"]).await];
    world.settled(1).await;
    let context = world.jetstream().await;
    let message = message_of_the_first(&context).await;
    for _ in 0..7 {
        let sent = context.publish("orders.placed", message.clone()).await.unwrap();
        sent.await.unwrap();
    }
    world.drained().await;
    assert_eq!(world.stored().await, 8);
    world.settled(1).await;
    let log: Vec<_> = consumers.iter().flat_map(Process::log).collect();
    let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(
        (count("shipped order=1 attempt=1"), count("outcome=\"replayed\"")),
        (1, 7),
        "{log:#?}"
    );
}

/// The broker has the message, and the outbox says that it does not.
async fn relay_killed_before_it_marks(window: &str, stored: u64) {
    let Some(world) = World::real() else { return };
    let serve = placed(&world).await;
    let options = ["--duplicate-window", window];
    let relay = ["relay", "--fault", "message-published", options[0], options[1]];
    let relay = world.start(&relay).await;
    relay.at_fault().await;
    relay.kill().await;
    assert_eq!(world.sql("select state from idempotent.outbox"), "pending");
    assert_eq!(world.stored().await, 1);
    // With it, the consumer ships before the message is published again.
    let consumer = world.start(&[&["consume"][..], &options].concat()).await;
    consumer.logged("shipped order=1", 1).await;

    let _relay = world.start(&[&["relay"][..], &options].concat()).await;
    world.settled(1).await;
    world.drained().await;
    assert_eq!(world.stored().await, stored);
    world.settled(1).await;
    assert_eq!(consumer.log().iter().filter(|line| line.contains("shipped order=1")).count(), 1);
    drop(serve);
}

/// By its message id, NATS knows that it has had it.
#[tokio::test]
async fn a_relay_killed_before_it_marks_publishes_again_what_the_broker_drops() {
    relay_killed_before_it_marks("2m", 1).await;
}

/// NATS has forgotten the id: the consumer gets the message twice.
#[tokio::test]
async fn a_relay_killed_before_it_marks_publishes_again_what_the_consumer_knows() {
    relay_killed_before_it_marks("100ms", 2).await;
}

/// It is shipped, and the broker does not know.
#[tokio::test]
async fn a_consumer_killed_before_its_acknowledgement_ships_once() {
    let Some(world) = World::real() else { return };
    let _serve = placed(&world).await;
    let _relay = world.start(&["relay"]).await;
    let consumer = world.start(&["consume", "--fault", "shipment-committed"]).await;
    consumer.at_fault().await;
    consumer.kill().await;
    assert_eq!(world.sql("select count(*) from shipments"), "1");

    let consumer = world.start(&["consume"]).await;
    consumer.logged("outcome=\"replayed\"", 1).await;
    world.drained().await;
    world.settled(1).await;
    assert!(!consumer.log().concat().contains("shipped order"), "{:#?}", consumer.log());
}

/// It was about to be shipped: the transaction is gone, and so is its record.
#[tokio::test]
async fn a_consumer_killed_before_its_commit_ships_at_the_next_attempt() {
    let Some(world) = World::real() else { return };
    let _serve = placed(&world).await;
    let _relay = world.start(&["relay"]).await;
    let consumer = world.start(&["consume", "--fault", "shipment-written"]).await;
    consumer.at_fault().await;
    consumer.kill().await;

    let consumer = world.start(&["consume"]).await;
    consumer.logged("shipped order=1 attempt=2", 1).await;
    world.drained().await;
    world.settled(1).await;
}

/// Kills the server at `fault` while a client waits, and asks another server again.
async fn server_killed(fault: &str, is_replay: bool) {
    let Some(world) = World::real() else { return };
    let _relay = world.start(&["relay"]).await;
    let _consumer = world.start(&["consume"]).await;
    let serve = world.start(&["serve", "--fault", fault]).await;
    let (call, address) = (Call::order("a"), serve.address());
    let first = tokio::spawn({
        let call = call.clone();
        async move { Client::new(address).send(&call).await }
    });
    serve.at_fault().await;
    serve.kill().await;
    first.await.unwrap().unwrap_err();

    let serve = world.start(&["serve"]).await;
    let second = serve.call(&call).await;
    assert_eq!(second.placed(), if is_replay { "/orders/1" } else { "/orders/2" });
    assert_eq!(second.is_replay(), is_replay);
    world.settled(1).await;
}

/// The client was never answered; its retry is.
#[tokio::test]
async fn a_server_killed_before_its_answer_has_placed_the_order_once() {
    server_killed("order-committed", true).await;
}

/// The number 1 was drawn in the transaction that is gone.
#[tokio::test]
async fn a_server_killed_before_its_commit_has_placed_nothing() {
    server_killed("order-written", false).await;
}

/// Orders are placed while the broker is away; they wait in the outbox.
#[tokio::test]
async fn a_broker_that_is_killed_loses_nothing() {
    let Some(mut world) = World::real() else { return };
    let orders = world.start(&["all"]).await;
    orders.call(&Call::order("a")).await.placed();
    world.settled(1).await;
    world.nats_mut().kill();
    for key in ["b", "c", "d"] {
        orders.call(&Call::order(key)).await.placed();
    }
    world.nats_mut().restart();
    world.settled(4).await;
}
