//! A database that goes away and comes back.

use std::time::Duration;

use idempotent_servers::{Answers, PostgresServer, Proxy, until};
use idempotent_sqlx::{
    Outbox,
    outbox::OutboxDatabase,
    sqlx::{self, PgPool, postgres::PgPoolOptions},
};
use tokio::time::sleep;

use crate::kit::{Broker, LONG, Running, ids, message};

async fn enqueue(pool: &PgPool, outbox: &Outbox<sqlx::Postgres>, number: usize) {
    let mut transaction = pool.begin().await.unwrap();
    outbox.enqueue(&mut transaction, message("a", number)).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn until_published<DB: OutboxDatabase>(outbox: &Outbox<DB>) {
    let wait = async {
        while !outbox.status().await.is_ok_and(|status| status.pending == 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("everything published");
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect(url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_loses_nothing() {
    let Some(mut server) = PostgresServer::builder().durable().start() else { return };
    let database = server.database();
    let pool = pool(database.url()).await;
    let outbox = Outbox::postgres(pool.clone());
    outbox.migrate().await.unwrap();
    for number in 0..200 {
        enqueue(&pool, &outbox, number).await;
    }
    let broker = Broker::willing();
    let lease = Duration::from_secs(2);
    let relay = outbox.relay_builder(broker.clone()).batch(16).lease(lease);
    let relay = relay.publish_timeout(lease / 2).poll_interval(Duration::from_millis(10));
    let relay = Running::start(relay.build().unwrap());
    for round in 1..=2 {
        broker.until_taken(round * 50).await;
        server.kill();
        server.restart();
    }
    until_published(&outbox).await;
    relay.stop().await;
    assert_eq!(broker.first_taken()["a"], ids("a", 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_waited_for_within_bounds() {
    let Some(mut server) = PostgresServer::start() else { return };
    let database = server.database();
    let pool = pool(database.url()).await;
    let outbox = Outbox::postgres(pool.clone());
    outbox.migrate().await.unwrap();
    enqueue(&pool, &outbox, 0).await;
    let broker = Broker::willing();
    let relay = outbox.relay_builder(broker.clone()).poll_interval(Duration::from_millis(10));
    let limit = Duration::from_millis(200);
    let running = Running::start(relay.database_timeout(limit).build().unwrap());
    broker.until_taken(1).await;
    until_published(&outbox).await;
    server.pause();
    sleep(limit * 3).await;
    // It can be stopped while the database hangs.
    running.stop().await;
    server.resume();
    let running = outbox.relay_builder(broker.clone()).database_timeout(limit).build().unwrap();
    let running = Running::start(running);
    enqueue(&pool, &outbox, 1).await;
    until_published(&outbox).await;
    running.stop().await;
    assert_eq!(broker.taken(), ids("a", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_costs_a_connection_and_no_more() {
    let Some(server) = PostgresServer::start() else { return };
    let database = server.database();
    let pool = pool(database.url()).await;
    let outbox = Outbox::postgres(pool.clone());
    outbox.migrate().await.unwrap();
    let proxy = Proxy::new(server.address());
    // The relay has one connection.
    let through = PgPoolOptions::new().max_connections(1);
    let through = Outbox::postgres(through.connect(&proxy.url(database.url())).await.unwrap());
    let broker = Broker::willing();
    let limit = Duration::from_millis(200);
    let lease = Duration::from_secs(1);
    let relay = through.relay_builder(broker.clone()).database_timeout(limit);
    let relay = relay.lease(lease).publish_timeout(lease / 2).poll_interval(limit / 20);
    let running = Running::start(relay.build().unwrap());
    for number in 0..3 {
        // An answer, and whatever the connection is asked before it is given up.
        let lost = proxy.lost_answers();
        proxy.answers(Answers::Swallow);
        until("an answer that is lost", || (proxy.lost_answers() >= lost + 2).then_some(()));
        proxy.answers(Answers::Pass);
        enqueue(&pool, &outbox, number).await;
        broker.until_taken(number + 1).await;
        until_published(&outbox).await;
    }
    running.stop().await;
    assert_eq!(broker.first_taken()["a"], ids("a", 3));
}
