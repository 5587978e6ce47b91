//! What was published goes after its retention.

use std::time::Duration;

use idempotent_sqlx::outbox::{OutboxDatabase, PublishError};

use crate::kit::{Broker, Kit, Running, Verdict, both, message};

/// Takes partition `a`, finds `b` dead, and leaves `c` pending.
async fn mixed<DB: OutboxDatabase>(kit: &Kit<DB>) -> (Broker, Running) {
    let broker = Broker::new(|message| match message.partition() {
        "a" => Verdict::Take,
        "b" => Verdict::Refuse(PublishError::permanent("never")),
        _ => Verdict::Refuse(PublishError::transient("not now")),
    });
    let relay = kit.relay(&broker).max_attempts(1000).report_interval(Duration::from_hours(1));
    let relay = Running::start(relay.build().unwrap());
    for partition in ["a", "b", "c"] {
        kit.enqueue_all((0..10).map(|number| message(partition, number))).await;
    }
    kit.until("the mixture", |status| status.pending == 10 && status.dead == 10).await;
    (broker, relay)
}

async fn only_what_is_settled_for_long_enough_goes<DB: OutboxDatabase>(kit: Kit<DB>) {
    let (_broker, relay) = mixed(&kit).await;
    relay.stop().await;
    assert!(kit.outbox.discard("b/0").await.unwrap());
    assert_eq!(kit.outbox.purge(Duration::from_hours(1), 100).await.unwrap(), 0);
    // In batches.
    let mut purged = Vec::new();
    loop {
        purged.push(kit.outbox.purge(Duration::ZERO, 4).await.unwrap());
        if purged.last() == Some(&0) {
            break;
        }
    }
    assert_eq!(purged, [4, 4, 3, 0]);
    let status = kit.outbox.status().await.unwrap();
    assert_eq!((status.pending, status.dead), (10, 9));
    // An id that is forgotten is free.
    kit.enqueue(message("a", 0)).await;
    assert_eq!(kit.outbox.status().await.unwrap().pending, 11);
}

async fn a_relay_purges_by_itself<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::willing();
    let relay = kit.relay(&broker).retention(Duration::ZERO);
    let relay = relay.report_interval(Duration::from_millis(20)).build().unwrap();
    assert_eq!(relay.lag().await.unwrap().pending, 0);
    let relay = Running::start(relay);
    kit.enqueue(message("a", 0)).await;
    // Free again: it was published and purged.
    let mut taken = 1;
    broker.until_taken(taken).await;
    while taken < 3 {
        kit.enqueue(message("a", 0)).await;
        taken = broker.taken().len();
        tokio::task::yield_now().await;
    }
    relay.stop().await;
}

both! {
    only_what_is_settled_for_long_enough_goes
    a_relay_purges_by_itself
}
