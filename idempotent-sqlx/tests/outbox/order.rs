//! The order inside of a partition.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use idempotent_sqlx::outbox::{OutboxDatabase, PublishError};

use crate::kit::{Broker, Kit, Running, Verdict, both, ids, message};

const PARTITIONS: usize = 9;
const EACH: usize = 60;

fn partition(number: usize) -> String {
    format!("partition-{number}")
}

async fn write<DB: OutboxDatabase>(kit: &Kit<DB>) {
    for number in 0..EACH {
        kit.enqueue_all((0..PARTITIONS).map(|at| message(&partition(at), number))).await;
    }
}

fn in_order(broker: &Broker) {
    let taken = broker.first_taken();
    for at in 0..PARTITIONS {
        assert_eq!(taken[&partition(at)], ids(&partition(at), EACH));
    }
}

async fn three_relays_keep_the_order_and_publish_once<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::willing();
    // Small batches: slots change hands all the time.
    let relays: Vec<_> =
        (0..3).map(|_| Running::start(kit.relay(&broker).batch(16).build().unwrap())).collect();
    write(&kit).await;
    kit.until("all published", |status| status.pending == 0).await;
    for relay in relays {
        relay.stop().await;
    }
    in_order(&broker);
    assert_eq!(broker.taken().len(), PARTITIONS * EACH, "without a failure there is no duplicate");
}

async fn three_relays_keep_the_order_under_failures<DB: OutboxDatabase>(kit: Kit<DB>) {
    let asked = AtomicUsize::new(0);
    let broker = Broker::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 13 {
        3 => Verdict::Refuse(PublishError::transient("not now")),
        7 => Verdict::Panic,
        _ => Verdict::Take,
    });
    let relay = || kit.relay(&broker).batch(16).max_attempts(1000).build().unwrap();
    let relays: Vec<_> = (0..3).map(|_| Running::start(relay())).collect();
    write(&kit).await;
    kit.until("all published", |status| status.pending == 0).await;
    for relay in relays {
        relay.stop().await;
    }
    in_order(&broker);
}

async fn relays_that_are_killed_keep_the_order<DB: OutboxDatabase>(kit: Kit<DB>) {
    let asked = AtomicUsize::new(0);
    // Half of what is lost was taken.
    let broker = Broker::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 40 {
        20 => Verdict::TakeSilently,
        39 => Verdict::Hang,
        _ => Verdict::Take,
    });
    let start = || {
        let relay = kit.relay(&broker).batch(32).max_attempts(1000);
        let lease = Duration::from_millis(200);
        Running::start(relay.publish_timeout(lease / 2).lease(lease).build().unwrap())
    };
    write(&kit).await;
    let mut relays: Vec<_> = (0..3).map(|_| start()).collect();
    for round in 1..8 {
        broker.until_taken(round * PARTITIONS * EACH / 10).await;
        relays.remove(0).kill().await;
        relays.push(start());
    }
    kit.until("all published", |status| status.pending == 0).await;
    for relay in relays {
        relay.stop().await;
    }
    in_order(&broker);
}

async fn a_message_that_fails_holds_its_partition_and_no_other<DB: OutboxDatabase>(kit: Kit<DB>) {
    let refuse = |id: &str| id == "stuck/1";
    let broker = Broker::new(move |message| match refuse(message.id()) {
        true => Verdict::Refuse(PublishError::transient("not now")),
        false => Verdict::Take,
    });
    let relay = kit.relay(&broker).max_attempts(1000).build().unwrap();
    let relay = Running::start(relay);
    kit.enqueue_all((0..4).map(|number| message("stuck", number))).await;
    kit.enqueue_all((0..100).map(|number| message(&partition(number), 0))).await;
    broker.until("five attempts", |broker| broker.asked("stuck/1").len() >= 5).await;
    broker.until_taken(101).await;
    // What the broker took is settled a little later.
    kit.until("all others settled", |status| status.pending <= 3).await;
    assert_eq!(kit.outbox.status().await.unwrap().pending, 3);
    let taken: HashSet<_> = broker.taken().into_iter().collect();
    assert!(taken.contains("stuck/0") && !taken.contains("stuck/2"));
    broker.becomes(|_| Verdict::Take);
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.first_taken()["stuck"], ids("stuck", 4));
}

async fn a_relay_that_outlives_its_lease_breaks_no_order<DB: OutboxDatabase>(kit: Kit<DB>) {
    kit.enqueue_all((0..5).map(|number| message("a", number))).await;
    // Nothing after the lease: the first publication hangs for as long as it may.
    let slow = Broker::new(|_| Verdict::Hang);
    let lease = Duration::from_millis(200);
    let build = |broker| kit.relay(broker).publish_timeout(lease / 2).lease(lease).build().unwrap();
    let first = Running::start(build(&slow));
    slow.until("an attempt", |broker| !broker.asked("a/0").is_empty()).await;
    first.kill().await;
    let broker = Broker::willing();
    let second = Running::start(build(&broker));
    kit.until("all published", |status| status.pending == 0).await;
    second.stop().await;
    assert_eq!(broker.taken(), ids("a", 5));
    assert!(slow.asked("a/1").is_empty(), "nothing behind a message without an answer");
}

both! {
    three_relays_keep_the_order_and_publish_once
    three_relays_keep_the_order_under_failures
    relays_that_are_killed_keep_the_order
    a_message_that_fails_holds_its_partition_and_no_other
    a_relay_that_outlives_its_lease_breaks_no_order
}

/// Two transactions at once have no order; the one that commits late is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_commits_behind_a_later_one_is_published() {
    let Some(kit) = crate::kit::postgres().await else { return };
    let broker = Broker::willing();
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    let mut late = kit.pool.begin().await.unwrap();
    kit.outbox.enqueue(&mut late, message("a", 0)).await.unwrap();
    kit.enqueue(message("a", 1)).await;
    broker.until_taken(1).await;
    late.commit().await.unwrap();
    broker.until_taken(2).await;
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/1", "a/0"]);
}
