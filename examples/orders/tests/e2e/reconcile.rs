//! The command that compares: each kind of disagreement is found.

use crate::{client::Call, world::World};

/// What somebody did to the database, and what is said about it. Of orders 1, 2 and 3, all are
/// shipped.
const DISAGREEMENTS: &[(&str, &[&str])] = &[
    (
        "delete from idempotent.outbox where partition_key = '2'",
        &["order without a message: order 2"],
    ),
    (
        "update idempotent.outbox set id = 'x' where partition_key = '2'",
        &["order without a message: order 2", "message without an order: message x"],
    ),
    (
        "insert into idempotent.outbox (id, topic, partition_key, slot, headers, payload, state)
        select 'x', topic, '9', slot, headers, payload, 'dead' from idempotent.outbox limit 1",
        &["message without an order: message x", "dead letter: message x: no error"],
    ),
    (
        "insert into orders (item, quantity, address, message_id)
        select item, quantity, address, 'twice' from orders where id < 3",
        &[
            "order without a message: order 4",
            "order without a message: order 5",
            "several orders of one key: message twice: 2 orders",
            "order without a record: order 4",
            "order without a record: order 5",
        ],
    ),
    (
        "delete from orders where id = 1",
        &[
            "message without an order: message ",
            "record without an order: order 1",
            "shipment without an order: shipment ",
        ],
    ),
    (
        "insert into shipments (order_id, quantity, address, attempt)
        select order_id, quantity, address, 1 from shipments where order_id = 3",
        &[
            "order shipped several times: order 3: 2 shipments",
            "shipment without a record: shipment 4",
        ],
    ),
    (
        "delete from shipments where order_id = 2",
        &[
            "shipped order without a shipment: order 2",
            "record without a shipment: shipment ",
            "published and never shipped: order 2",
        ],
    ),
    (
        "update shipments set quantity = 9 where order_id = 2",
        &["shipment of other content than its order: shipment "],
    ),
    (
        "update orders set status = 'placed' where id = 2",
        &["shipment of an order that is not shipped: shipment "],
    ),
    (
        "delete from idempotent.records where status = 201",
        &[
            "order without a record: order 1",
            "order without a record: order 2",
            "order without a record: order 3",
        ],
    ),
    (
        "delete from idempotent.records where status is null",
        &[
            "shipment without a record: shipment ",
            "shipment without a record: shipment ",
            "shipment without a record: shipment ",
        ],
    ),
    (
        "update idempotent.outbox set state = 'pending', settled_at = null where partition_key = '1'",
        &["message that was never published: message "],
    ),
];

#[tokio::test]
async fn every_kind_of_disagreement_is_found() {
    for (damage, expected) in DISAGREEMENTS {
        let Some(world) = World::real() else { return };
        let orders = world.start(&["all"]).await;
        for key in ["a", "b", "c"] {
            orders.call(&Call::order(key)).await.placed();
        }
        world.settled(3).await;
        orders.stop().await;
        world.sql(damage);
        let (code, printed) = world.reconcile().await;
        assert_eq!(code, Some(1), "{damage}: {printed}");
        let mut lines: Vec<_> = printed.lines().collect();
        let summary = lines.pop().unwrap();
        assert!(
            summary.starts_with(&format!("{} disagree: ", expected.len())),
            "{damage}: {printed}"
        );
        for (line, expected) in lines.iter().zip(*expected) {
            assert!(line.starts_with(expected), "{damage}: {line:?} instead of {expected:?}");
        }
    }
}

/// What is on its way disagrees with nothing, until it takes too long.
#[tokio::test]
async fn what_is_on_its_way_is_given_time() {
    let world = World::embedded();
    let orders = world.start(&["serve"]).await;
    orders.call(&Call::order("a")).await.placed();
    let patient = world.command(&["reconcile"]).output().await.unwrap();
    let printed = String::from_utf8(patient.stdout).unwrap();
    let expected = "nothing disagrees: 1 orders, 1 messages, 0 shipments, 1 records\n";
    assert_eq!((patient.status.code(), &*printed), (Some(0), expected));
    let (code, printed) = world.reconcile().await;
    assert_eq!(code, Some(1));
    assert!(printed.starts_with("message that was never published: message "), "{printed}");
}
