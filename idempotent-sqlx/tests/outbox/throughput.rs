//! How many messages a second go from PostgreSQL, which syncs its files, to a NATS JetStream on disk.
//! `cargo test --release -p idempotent-sqlx --test outbox throughput -- --nocapture` prints it.

use std::time::Instant;

use idempotent_servers::{NatsServer, PostgresServer};
use idempotent_sqlx::outbox::Message;

use crate::{
    kit,
    kit::Running,
    nats::{self, JetStream},
};

/// Enough for a figure where the code is optimised, and to see that all go where it is not.
const MESSAGES: usize = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
const PARTITIONS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput() {
    let (Some(server), Some(url)) =
        (PostgresServer::builder().durable().start(), NatsServer::shared())
    else {
        return;
    };
    let kit = kit::on(server.database()).await;
    let context = nats::stream(url, "throughput").await;
    let began = Instant::now();
    for first in (0..MESSAGES).step_by(500) {
        kit.enqueue_all((first..first + 500).map(|number| {
            let partition = format!("order-{}", number % PARTITIONS);
            Message::new(format!("message-{number}"), "throughput.orders", vec![b'x'; 200])
                .partition(partition)
        }))
        .await;
    }
    let enqueued = began.elapsed();
    let began = Instant::now();
    let relay = Running::start(kit.outbox.relay(JetStream::new(context.clone())));
    kit.until("all published", |status| status.pending == 0).await;
    let published = began.elapsed();
    relay.stop().await;
    #[allow(clippy::cast_precision_loss)]
    let rate = |elapsed: std::time::Duration| MESSAGES as f64 / elapsed.as_secs_f64();
    let stored = context.get_stream("throughput").await.unwrap().get_info().await.unwrap();
    assert_eq!(stored.state.messages, MESSAGES as u64);
    println!(
        "enqueued {:.0}/s (500 a transaction), published {:.0}/s, {MESSAGES} messages of 200 bytes, \
         {PARTITIONS} partitions, one relay",
        rate(enqueued),
        rate(published),
    );
}
