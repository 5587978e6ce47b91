//! A relay whose process is killed after the broker has a message and before it is marked.

use std::{
    env,
    process::{Command, Stdio},
    time::Duration,
};

use idempotent_servers::NatsServer;
use idempotent_sqlx::{
    Outbox,
    outbox::{Message, OutboxMessage, PublishError, Publisher},
    sqlx::PgPool,
};

use crate::{
    kit::{self, LONG, Running},
    nats::{self, JetStream, stored},
};

const MESSAGES: usize = 200;
/// Where the process that is killed finds its servers.
const DATABASE: &str = "OUTBOX_TEST_DATABASE";
const BROKER: &str = "OUTBOX_TEST_BROKER";

/// Publishes, and does not tell the relay of every third.
struct Tonguetied(JetStream);

impl Publisher for Tonguetied {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        self.0.publish(message).await?;
        match message.id().ends_with('3') {
            true => std::future::pending().await,
            false => Ok(()),
        }
    }
}

const LEASE: Duration = Duration::from_secs(2);

/// The process that is killed: nothing, unless the test below starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_process() {
    let (Ok(database), Ok(broker)) = (env::var(DATABASE), env::var(BROKER)) else { return };
    let outbox = Outbox::postgres(PgPool::connect(&database).await.unwrap());
    let client = async_nats::connect(broker).await.unwrap();
    let publisher = Tonguetied(JetStream::new(async_nats::jetstream::new(client)));
    let relay = outbox.relay_builder(publisher).lease(LEASE).publish_timeout(LEASE / 2);
    relay.build().unwrap().run(std::future::pending()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_before_it_marks_is_one_message_in_the_stream() {
    let (Some(kit), Some(url)) = (kit::postgres().await, NatsServer::shared()) else { return };
    let context = nats::stream(url, "killed").await;
    kit.enqueue_all((0..MESSAGES).map(|number| {
        Message::new(format!("id-{number}"), "killed.orders", "{}")
            .partition(format!("order-{}", number % 20))
    }))
    .await;
    let database = kit.url.clone();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["process::relay_process", "--exact"])
        .env(DATABASE, database)
        .env(BROKER, url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has published messages that it holds unmarked.
    let deadline = std::time::Instant::now() + LONG;
    let count = async || {
        let stream = context.get_stream("killed").await.unwrap();
        stream.get_info().await.unwrap().state.messages
    };
    while count().await < 20 {
        assert!(std::time::Instant::now() < deadline, "the process published nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(kit.outbox.status().await.unwrap().pending > 0);
    let relay = Running::start(kit.outbox.relay(JetStream::new(context.clone())));
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    let mut ids = stored(&context, "killed", MESSAGES).await;
    assert_eq!(count().await, MESSAGES as u64, "the broker dropped what came twice");
    // In order inside of each partition.
    for partition in 0..20 {
        let numbers: Vec<usize> = ids.iter().map(|id| id["id-".len()..].parse().unwrap()).collect();
        let numbers: Vec<_> =
            numbers.into_iter().filter(|number| number % 20 == partition).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), MESSAGES);
}
