//! The same request from many clients.

use std::collections::HashSet;

use crate::{client::Call, world::World};

/// One key, 8 clients, 2 processes: one order, one message, one shipment, one answer.
async fn one_order_for_one_key(world: &World, also: &[&[&str]]) {
    let mut others = Vec::new();
    for task in also {
        others.push(world.start(task).await);
    }
    let serve: &[&str] = if also.is_empty() { &["all"] } else { &["serve"] };
    let orders = [world.start(serve).await, world.start(serve).await];
    for key in ["a", "b", "c"] {
        let call = Call::order(key);
        let calls = (0..8).map(|nth| orders[nth % 2].call(&call));
        let answers = futures_util::future::join_all(calls).await;
        let told: HashSet<_> =
            answers.iter().map(|answer| (answer.placed(), answer.body.clone())).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    }
    world.settled(3).await;
}

#[tokio::test]
async fn one_order_for_one_key_in_sqlite() {
    one_order_for_one_key(&World::embedded(), &[]).await;
}

#[tokio::test]
async fn one_order_for_one_key_over_the_real_parts() {
    let Some(world) = World::real() else { return };
    one_order_for_one_key(&world, &[&["relay"], &["relay"], &["consume"], &["consume"]]).await;
}

/// A key that is used again after its `ttl` is another order, which the consumer (it remembers for 7 days)
/// does not take for the first.
#[tokio::test]
async fn a_key_that_is_used_again_after_its_ttl_ships_again() {
    let Some(world) = World::real() else { return };
    let orders = world.start(&["serve"]).await;
    let _others = [world.start(&["relay"]).await, world.start(&["consume"]).await];
    let first = orders.call(&Call::order("a")).await.placed().to_owned();
    world.shipped(1).await;
    // A day later.
    world.sql(
        "update idempotent.records set expires_at = now() - interval '1 second' \
         where key in (select key from idempotent.leases where operation = 'place_order')",
    );
    let second = orders.call(&Call::order("a")).await;
    assert!(!second.is_replay());
    assert_ne!(second.placed(), first);
    world.shipped(2).await;
    assert!(orders.call(&Call::order("a")).await.is_replay());
}
