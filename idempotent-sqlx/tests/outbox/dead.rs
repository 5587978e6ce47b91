//! Messages that are given up.

use idempotent_sqlx::{
    outbox::{OnDead, OutboxDatabase, PublishError},
    sqlx::{AssertSqlSafe, Executor},
};

use crate::kit::{Broker, Kit, Running, Verdict, both, message};

/// Refuses the first message of partition `a`.
fn picky(error: fn() -> PublishError) -> Broker {
    Broker::new(move |message| match message.id() {
        "a/0" => Verdict::Refuse(error()),
        _ => Verdict::Take,
    })
}

async fn a_message_dies_after_its_last_attempt_and_its_partition_goes_on<DB: OutboxDatabase>(
    kit: Kit<DB>,
) {
    let broker = picky(|| PublishError::transient("too heavy\0"));
    let relay = Running::start(kit.relay(&broker).max_attempts(3).build().unwrap());
    kit.enqueue_all((0..3).map(|number| message("a", number).header("h", "1"))).await;
    kit.until("the end", |status| status.pending == 0 && status.dead == 1).await;
    assert_eq!(broker.asked("a/0").len(), 3);
    assert_eq!(broker.taken(), ["a/1", "a/2"]);
    let letters = kit.outbox.dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.message.id(), letter.attempts), ("a/0", 3));
    assert_eq!(letter.error, "too heavy");
    assert_eq!(letter.message.header("h"), Some("1"));
    assert_eq!(&letter.message.payload()[..], b"a/0");
    assert!(kit.outbox.dead_letters(0).await.unwrap().is_empty());
    relay.stop().await;
}

async fn a_permanent_error_is_the_end_at_once<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = picky(|| PublishError::permanent("never"));
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.enqueue_all((0..2).map(|number| message("a", number))).await;
    kit.until("the end", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.asked("a/0").len(), 1);
    assert_eq!(kit.outbox.status().await.unwrap().dead, 1);
}

async fn a_dead_letter_can_be_tried_again_or_discarded<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|_| Verdict::Refuse(PublishError::permanent("never")));
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.enqueue_all([message("a", 0), message("b", 0)]).await;
    kit.until("two dead", |status| status.dead == 2).await;
    broker.becomes(|message| {
        assert_eq!(message.attempt(), 1, "attempts begin anew");
        Verdict::Take
    });
    assert!(!kit.outbox.retry("nothing").await.unwrap());
    assert!(kit.outbox.retry("a/0").await.unwrap());
    assert!(!kit.outbox.retry("a/0").await.unwrap() || broker.taken().is_empty());
    assert!(kit.outbox.discard("b/0").await.unwrap());
    assert!(!kit.outbox.discard("b/0").await.unwrap());
    assert!(!kit.outbox.retry("b/0").await.unwrap());
    kit.until("the end", |status| status.pending + status.dead == 0).await;
    // Discarded is settled: enqueued again it stays so.
    kit.enqueue(message("b", 0)).await;
    assert_eq!(kit.outbox.status().await.unwrap().pending, 0);
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/0"]);
}

async fn a_dead_letter_blocks_its_partition_where_that_was_chosen<DB: OutboxDatabase>(
    kit: Kit<DB>,
) {
    let broker = picky(|| PublishError::permanent("never"));
    let relay = Running::start(kit.relay(&broker).on_dead(OnDead::Block).build().unwrap());
    kit.enqueue_all((0..3).map(|number| message("a", number))).await;
    kit.enqueue_all((0..3).map(|number| message("b", number))).await;
    kit.until("one dead", |status| status.dead == 1 && status.pending == 2).await;
    kit.enqueue(message("c", 0)).await;
    broker.until_taken(4).await;
    assert_eq!(broker.taken(), ["b/0", "b/1", "b/2", "c/0"]);
    broker.becomes(|_| Verdict::Take);
    assert!(kit.outbox.retry("a/0").await.unwrap());
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken()[4..], ["a/0", "a/1", "a/2"]);
}

async fn discarding_lets_a_blocked_partition_go_on<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = picky(|| PublishError::permanent("never"));
    let relay = Running::start(kit.relay(&broker).on_dead(OnDead::Block).build().unwrap());
    kit.enqueue_all((0..3).map(|number| message("a", number))).await;
    kit.until("one dead", |status| status.dead == 1).await;
    assert!(kit.outbox.discard("a/0").await.unwrap());
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/1", "a/2"]);
}

/// Runs a statement that an application would not.
async fn tamper<DB: OutboxDatabase>(kit: &Kit<DB>, sql: &str)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut connection = kit.pool.acquire().await.unwrap();
    let sql = sql.replace("{outbox}", kit.table);
    (&mut *connection).execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn a_message_that_cannot_be_read_is_a_dead_letter<DB: OutboxDatabase>(kit: Kit<DB>)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    kit.enqueue_all((0..3).map(|number| message("a", number))).await;
    tamper(&kit, "update {outbox} set headers = '7' where id = 'a/1'").await;
    let broker = Broker::willing();
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.until("the end", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken(), ["a/0", "a/2"]);
    let letters = kit.outbox.dead_letters(10).await.unwrap();
    assert_eq!((letters.len(), letters[0].message.id()), (1, "a/1"));
}

both! {
    a_message_dies_after_its_last_attempt_and_its_partition_goes_on
    a_permanent_error_is_the_end_at_once
    a_dead_letter_can_be_tried_again_or_discarded
    a_dead_letter_blocks_its_partition_where_that_was_chosen
    discarding_lets_a_blocked_partition_go_on
    a_message_that_cannot_be_read_is_a_dead_letter
}
