//! What a business transaction writes.

use idempotent_sqlx::outbox::{ChannelPublisher, Message, OutboxDatabase, OutboxError};

use crate::kit::{Broker, Kit, Running, both, message};

async fn a_transaction_that_rolls_back_publishes_nothing<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::willing();
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    let mut transaction = kit.pool.begin().await.unwrap();
    kit.outbox.enqueue(&mut transaction, message("a", 0)).await.unwrap();
    transaction.rollback().await.unwrap();
    kit.enqueue(message("a", 1)).await;
    kit.until("the other message", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/1"]);
}

async fn a_message_is_not_published_before_its_commit<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::willing();
    let mut transaction = kit.pool.begin().await.unwrap();
    kit.outbox.enqueue(&mut transaction, message("a", 0)).await.unwrap();
    assert_eq!(kit.outbox.status().await.unwrap().pending, 0);
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    transaction.commit().await.unwrap();
    kit.outbox.wake();
    broker.until_taken(1).await;
    relay.stop().await;
}

async fn one_id_is_one_message<DB: OutboxDatabase>(kit: Kit<DB>) {
    let same = || message("a", 0).header("colour", "blue");
    kit.enqueue_all([same(), same()]).await;
    kit.enqueue(same()).await;
    let broker = Broker::willing();
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.until("the message", |status| status.pending == 0).await;
    // Published, and still known.
    kit.enqueue_all([same(), message("b", 0)]).await;
    kit.until("the other", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/0", "b/0"]);
}

async fn one_id_with_another_content_is_refused<DB: OutboxDatabase>(kit: Kit<DB>) {
    let first = || Message::new("id", "topic", "payload").partition("p").header("h", "1");
    kit.enqueue(first()).await;
    let others = [
        Message::new("id", "topic", "payload!").partition("p").header("h", "1"),
        Message::new("id", "topic!", "payload").partition("p").header("h", "1"),
        Message::new("id", "topic", "payload").partition("p!").header("h", "1"),
        Message::new("id", "topic", "payload").partition("p").header("h", "2"),
        Message::new("id", "topic", "payload").header("h", "1"),
    ];
    for other in others {
        let mut transaction = kit.pool.begin().await.unwrap();
        let refused = kit.outbox.enqueue(&mut transaction, other).await;
        assert!(matches!(refused, Err(OutboxError::IdTaken(id)) if id == "id"));
        // The transaction goes on.
        kit.outbox.enqueue(&mut transaction, first()).await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(kit.outbox.status().await.unwrap().pending, 1);
}

async fn what_cannot_be_kept_is_refused<DB: OutboxDatabase>(kit: Kit<DB>) {
    let mut transaction = kit.pool.begin().await.unwrap();
    for message in [Message::new("", "topic", ""), Message::new("a\0", "topic", "")] {
        let refused = kit.outbox.enqueue(&mut transaction, message).await;
        assert!(matches!(refused, Err(OutboxError::InvalidMessage("id"))));
    }
}

async fn a_message_arrives_as_it_was_enqueued<DB: OutboxDatabase>(kit: Kit<DB>) {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let message = Message::new("id é", "topic", bytes.clone())
        .header("b", "\"1\" é")
        .header("a", "")
        .header("b", "2");
    kit.enqueue_all([message, Message::new("empty", "topic", "")]).await;
    let (publisher, mut deliveries) = ChannelPublisher::new(1);
    let relay = Running::start(kit.outbox.relay(publisher));
    for _ in 0..2 {
        let delivery = deliveries.recv().await.unwrap();
        let message = delivery.message();
        assert_eq!(message.attempt(), 1);
        assert_eq!(message.topic(), "topic");
        if message.id() == "empty" {
            assert!(message.payload().is_empty());
            assert_eq!((message.partition(), message.headers().count()), ("empty", 0));
        } else {
            assert_eq!((message.id(), message.partition()), ("id é", "id é"));
            assert_eq!(*message.payload(), bytes);
            assert_eq!(message.header("b"), Some("\"1\" é"));
            let headers: Vec<_> = message.headers().collect();
            assert_eq!(headers, [("b", "\"1\" é"), ("a", ""), ("b", "2")]);
        }
        delivery.ack();
    }
    kit.until("both marked", |status| status.pending == 0).await;
    relay.stop().await;
}

async fn two_outboxes_of_one_database_share_nothing<DB: OutboxDatabase>(kit: Kit<DB>) {
    let other = kit.outbox.clone().with_name("other_events").unwrap();
    other.migrate().await.unwrap();
    kit.enqueue(message("a", 0)).await;
    assert_eq!(other.status().await.unwrap().pending, 0);
    assert_eq!(other.status().await.unwrap().oldest, None);
    let status = kit.outbox.status().await.unwrap();
    assert_eq!((status.pending, status.waiting, status.dead), (1, 0, 0));
    assert!(status.oldest.is_some());
    assert!(matches!(kit.outbox.clone().with_name("a\"b"), Err(OutboxError::InvalidName(_))));
}

both! {
    a_transaction_that_rolls_back_publishes_nothing
    a_message_is_not_published_before_its_commit
    one_id_is_one_message
    one_id_with_another_content_is_refused
    what_cannot_be_kept_is_refused
    a_message_arrives_as_it_was_enqueued
    two_outboxes_of_one_database_share_nothing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_waits_for_the_open_transaction_that_wrote_it() {
    let Some(kit) = crate::kit::postgres().await else { return };
    let mut first = kit.pool.begin().await.unwrap();
    kit.outbox.enqueue(&mut first, message("a", 0)).await.unwrap();
    let (outbox, pool) = (kit.outbox.clone(), kit.pool.clone());
    let second = tokio::spawn(async move {
        let mut second = pool.begin().await.unwrap();
        outbox.enqueue(&mut second, message("a", 0)).await.unwrap();
        second.commit().await.unwrap();
    });
    first.rollback().await.unwrap();
    second.await.unwrap();
    assert_eq!(kit.outbox.status().await.unwrap().pending, 1);
}
