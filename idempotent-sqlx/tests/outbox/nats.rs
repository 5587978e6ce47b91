//! The relay against a real NATS JetStream.

use std::time::Duration;

use async_nats::{
    ConnectOptions, HeaderMap,
    jetstream::{
        self, Context, context::PublishErrorKind, message::PublishMessage, stream::Config,
    },
};
use futures_util::StreamExt as _;
use idempotent_servers::NatsServer;
use idempotent_sqlx::outbox::{Message, OutboxMessage, PublishError, Publisher};

use crate::kit::{self, Running};

/// Publishes to JetStream: the topic is the subject, the message id is `Nats-Msg-Id`, by which a
/// stream drops duplicates for its `duplicate_window`.
pub(crate) struct JetStream(Context);

impl JetStream {
    pub(crate) fn new(context: Context) -> Self {
        Self(context)
    }
}

impl Publisher for JetStream {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in message.headers() {
            headers.append(name, value);
        }
        let publication = PublishMessage::build()
            .headers(headers)
            .message_id(message.id())
            .payload(message.payload().clone());
        let sent =
            self.0.send_publish(message.topic().to_owned(), publication).await.map_err(told)?;
        // The acknowledgement: the stream has stored the message, or has had it before.
        sent.await.map(drop).map_err(told)
    }
}

fn told(error: jetstream::context::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            PublishError::unavailable(error)
        }
        PublishErrorKind::MaxPayloadExceeded => PublishError::permanent(error),
        // No stream listens to the subject yet, or the server refused this one.
        _ => PublishError::transient(error),
    }
}

/// A connection, and a stream of the test's own.
pub(crate) async fn stream(url: &str, name: &str) -> Context {
    let client = ConnectOptions::new().retry_on_initial_connect().connect(url).await.unwrap();
    let context = jetstream::new(client);
    let config = Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        duplicate_window: Duration::from_mins(2),
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    context
}

/// Ids in the order of the stream.
pub(crate) async fn stored(context: &Context, name: &str, count: usize) -> Vec<String> {
    let stream = context.get_stream(name).await.unwrap();
    let consumer =
        stream.create_consumer(jetstream::consumer::pull::OrderedConfig::default()).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(count);
    messages
        .map(|message| {
            let message = message.unwrap();
            message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap().to_string()
        })
        .collect()
        .await
}

fn message(subject: &str, number: usize) -> Message {
    Message::new(format!("message-{number}"), subject, "{}").partition("order-7")
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_the_stream_in_order_and_with_their_headers() {
    let (Some(kit), Some(url)) = (kit::postgres().await, NatsServer::shared()) else { return };
    let context = stream(url, "reach").await;
    let relay = Running::start(kit.outbox.relay(JetStream::new(context.clone())));
    for number in 0..50 {
        kit.enqueue(
            message("reach.orders", number).header("Colour", "blue").header("Colour", "red"),
        )
        .await;
    }
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(stored(&context, "reach", 50).await, ids(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_is_waited_for() {
    let (Some(kit), Some(mut server)) = (kit::postgres().await, NatsServer::start()) else {
        return;
    };
    let context = stream(&server.url(), "down").await;
    // One attempt: that the broker is down must not count as one.
    let relay = kit.outbox.relay_builder(JetStream::new(context.clone())).max_attempts(1);
    let relay = relay.publish_timeout(Duration::from_secs(2)).lease(Duration::from_secs(4));
    let relay = Running::start(relay.build().unwrap());
    for number in 0..10 {
        kit.enqueue(message("down.orders", number)).await;
    }
    kit.until("the first", |status| status.pending == 0).await;
    server.kill();
    for number in 10..20 {
        kit.enqueue(message("down.orders", number)).await;
    }
    // Longer than a publication may take.
    kit.until("a lag", |status| status.oldest > Some(Duration::from_secs(3))).await;
    assert_eq!(kit.outbox.status().await.unwrap().dead, 0);
    server.restart();
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(kit.outbox.status().await.unwrap().dead, 0);
    assert_eq!(stored(&context, "down", 20).await, ids(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_relays_and_one_stream_keep_the_order() {
    let (Some(kit), Some(url)) = (kit::postgres().await, NatsServer::shared()) else { return };
    let context = stream(url, "three").await;
    let relay = || {
        let relay = kit.outbox.relay_builder(JetStream::new(context.clone())).batch(32);
        Running::start(relay.build().unwrap())
    };
    let relays = [relay(), relay(), relay()];
    for number in 0..100 {
        kit.enqueue_all((0..10).map(|partition| {
            let id = format!("{partition}-{number}");
            Message::new(id, "three.orders", "{}").partition(format!("order-{partition}"))
        }))
        .await;
    }
    kit.until("all published", |status| status.pending == 0).await;
    for relay in relays {
        relay.stop().await;
    }
    let stored = stored(&context, "three", 1000).await;
    for partition in 0..10 {
        let prefix = format!("{partition}-");
        let of_partition = stored.iter().filter_map(|id| id.strip_prefix(&prefix));
        let numbers: Vec<usize> = of_partition.map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}
