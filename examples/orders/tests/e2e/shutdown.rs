//! SIGTERM and SIGINT: what has begun ends.

use std::time::Instant;

use tokio::net::TcpStream;

use crate::{
    client::{Call, Client},
    process::PATIENCE,
    world::World,
};

/// CASES 35: a graceful shutdown while handlers run.
#[tokio::test]
async fn what_was_placed_before_a_signal_is_answered() {
    for signal in ["TERM", "INT"] {
        let world = World::embedded();
        let orders = world.start(&["all"]).await;
        let address = orders.address();
        let calls = (0..20).map(|nth| async move {
            Client::new(address).send(&Call::order(&nth.to_string())).await
        });
        let calls = tokio::spawn(futures_util::future::join_all(calls));
        orders.logged("placed order=", 1).await;
        orders.signal(signal).await;
        let (status, log) = orders.ended().await;
        assert_eq!(status.code(), Some(0));
        assert!(log.last().unwrap().contains("stopped"), "{log:#?}");
        drop(calls);

        // What was placed and not shipped then, the next process ships.
        let placed = log.iter().filter(|line| line.contains("placed order=")).count();
        let _orders = world.start(&["all"]).await;
        world.settled(placed).await;
    }
}

#[tokio::test]
async fn every_part_ends_in_order() {
    let Some(world) = World::real() else { return };
    for task in ["serve", "relay", "consume", "all"] {
        let process = world.start(&[task]).await;
        process.signal("TERM").await;
        let (status, log) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{task}: {log:#?}");
        assert!(log.iter().any(|line| line.contains("stopped")), "{task}: {log:#?}");
    }
}

/// What the consumer has begun is shipped and acknowledged before it ends.
#[tokio::test]
async fn a_consumer_that_stops_leaves_nothing_half_done() {
    let Some(world) = World::real() else { return };
    let serve = world.start(&["serve"]).await;
    let mut client = Client::new(serve.address());
    for nth in 0..50 {
        client.send(&Call::order(&nth.to_string())).await.unwrap().placed();
    }
    let _relay = world.start(&["relay"]).await;
    let consumer = world.start(&["consume", "--in-flight", "4"]).await;
    consumer.logged("shipped order=", 1).await;
    consumer.stop().await;
    let _consumer = world.start(&["consume"]).await;
    world.settled(50).await;
}

#[tokio::test]
async fn a_shutdown_accepts_no_more_connections() {
    let world = World::embedded();
    let orders = world.start(&["serve", "--fault", "order-written", "--drain", "3s"]).await;
    let address = orders.address();
    let stuck = tokio::spawn(async move { Client::new(address).send(&Call::order("a")).await });
    orders.at_fault().await;
    orders.signal("TERM").await;
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < until);
    }
    // It gives up what does not end, and leaves it to whoever comes next.
    let (status, log) = orders.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        log.iter().any(|line| line.contains("stopped before everything had ended")),
        "{log:#?}"
    );
    stuck.await.unwrap().unwrap_err();
    let orders = world.start(&["all"]).await;
    orders.call(&Call::order("a")).await.placed();
    world.settled(1).await;
}
