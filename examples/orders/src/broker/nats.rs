//! NATS `JetStream`: one stream, one durable consumer that the processes share.

use std::time::Duration;

use async_nats::{
    Client, ConnectOptions, HeaderMap,
    jetstream::{
        self, Context, Message,
        consumer::{
            AckPolicy, PullConsumer,
            pull::{Batch, Config as ConsumerConfig},
        },
        context::{self, PublishErrorKind},
        message::PublishMessage,
        stream::Config as StreamConfig,
    },
};
use futures_util::StreamExt as _;
use idempotent_sqlx::outbox::{OutboxMessage, PublishError};

use crate::{options::Messages, order::OrderPlaced, startup::Chain};

pub(super) use async_nats::jetstream::AckKind;

const STREAM: &str = "ORDERS";
const SUBJECTS: &str = "orders.>";
/// The durable consumer.
const SHIPPING: &str = "shipping";

/// How long the server holds a request for messages where there are none.
const EXPIRES: Duration = Duration::from_secs(5);
/// How long the consumer waits after the server has refused.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection, and the consumer's end.
pub(crate) struct Nats {
    context: Context,
    consumer: PullConsumer,
    /// What was asked for and has not come yet.
    batch: Option<Batch>,
}

impl Nats {
    /// Creates what is missing, and changes what is set otherwise.
    pub(super) async fn open(url: &str, messages: &Messages) -> Result<Self, async_nats::Error> {
        let client = ConnectOptions::new().name("orders").connect(url).await?;
        let context = jetstream::new(client);
        let stream = StreamConfig {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            duplicate_window: messages.duplicate_window,
            ..StreamConfig::default()
        };
        context.create_or_update_stream(stream).await?;
        let consumer = ConsumerConfig {
            durable_name: Some(SHIPPING.to_owned()),
            filter_subject: OrderPlaced::TOPIC.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: messages.ack_wait,
            ..ConsumerConfig::default()
        };
        let consumer = context.create_consumer_on_stream(consumer, STREAM).await?;
        Ok(Self { context, consumer, batch: None })
    }

    pub(super) fn client(&self) -> Client {
        self.context.client()
    }

    pub(super) fn sender(&self) -> Sender {
        Sender(self.context.clone())
    }

    /// The next message, however long that takes. What is asked for is bounded by `room`: a message
    /// that waits here is delivered to somebody else when its time is over.
    pub(super) async fn next(&mut self, room: usize) -> Message {
        loop {
            if let Some(batch) = &mut self.batch {
                match batch.next().await {
                    Some(Ok(message)) => return message,
                    Some(Err(error)) => tracing::warn!("no messages: {}", Chain(&*error)),
                    None => {}
                }
                self.batch = None;
            }
            let asked = self.consumer.batch().max_messages(room).expires(EXPIRES);
            match asked.messages().await {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => {
                    tracing::warn!("no messages: {}", Chain(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The relay's end.
pub(crate) struct Sender(Context);

impl Sender {
    /// The message id goes along: the server drops what it has had within its `duplicate_window`.
    /// That saves the consumer work; what comes twice all the same finds its record.
    pub(super) async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in message.headers() {
            headers.append(name, value);
        }
        let publication = PublishMessage::build()
            .headers(headers)
            .message_id(message.id())
            .payload(message.payload().clone());
        let sent = self.0.send_publish(message.topic().to_owned(), publication);
        // Sent is not stored: the server's acknowledgement says so.
        sent.await.map_err(told)?.await.map(drop).map_err(told)
    }
}

fn told(error: context::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            PublishError::unavailable(error)
        }
        PublishErrorKind::MaxPayloadExceeded => PublishError::permanent(error),
        _ => PublishError::transient(error),
    }
}

/// An answer that is lost costs a delivery, which is answered from the record.
pub(super) async fn answer(message: Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::warn!("not acknowledged: {}", Chain(&*error));
    }
}
