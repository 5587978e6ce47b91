//! What carries messages from the outbox to the consumer, at least once.

mod nats;

use std::time::Duration;

use bytes::Bytes;
use idempotent_sqlx::outbox::{self, ChannelPublisher, OutboxMessage, PublishError, Publisher};
use tokio::sync::mpsc;

use self::nats::Nats;
use crate::{fault::Fault, options::Messages, startup::StartError};

/// Where the broker is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum BrokerUrl {
    /// In this process. A message stays in the outbox until it is acknowledged, so that what the
    /// channel held is not lost with the process.
    Channel,
    Nats(String),
}

impl BrokerUrl {
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        match url.split_once("://") {
            None if url == "channel" => Ok(Self::Channel),
            Some(("nats" | "tls", _)) => Ok(Self::Nats(url.to_owned())),
            _ => Err("expected `channel` or `nats://…`"),
        }
    }
}

/// Both ends of a broker.
pub(crate) struct Broker {
    pub(crate) sender: Sender,
    pub(crate) deliveries: Deliveries,
    pub(crate) link: Link,
}

impl Broker {
    pub(crate) async fn open(url: &BrokerUrl, messages: &Messages) -> Result<Self, StartError> {
        match url {
            BrokerUrl::Channel => Ok(Self::channel(messages.in_flight.into())),
            BrokerUrl::Nats(url) => {
                let nats = Nats::open(url, messages).await;
                let nats = nats.map_err(|error| StartError::broker(url, &*error))?;
                Ok(Self {
                    sender: Sender::Nats(Box::new(nats.sender())),
                    link: Link(Some(nats.client())),
                    deliveries: Deliveries::Nats(Box::new(nats)),
                })
            }
        }
    }

    /// For a process that neither sends nor receives.
    pub(crate) fn nowhere() -> Self {
        Self::channel(1)
    }

    fn channel(capacity: usize) -> Self {
        let (sender, deliveries) = ChannelPublisher::new(capacity);
        Self {
            sender: Sender::Channel(sender),
            deliveries: Deliveries::Channel(deliveries),
            link: Link(None),
        }
    }
}

/// What is still on its way to the broker.
pub(crate) struct Link(Option<async_nats::Client>);

impl Link {
    /// Sends it: the last acknowledgements. Those that are lost cost a delivery, which is answered
    /// from the record.
    pub(crate) async fn flush(self) {
        if let Some(client) = self.0 {
            let _ = client.flush().await;
        }
    }
}

/// The relay's end.
pub(crate) enum Sender {
    Channel(ChannelPublisher),
    Nats(Box<nats::Sender>),
}

/// [`Sender`], as the relay wants it.
pub(crate) struct Publishing {
    pub(crate) sender: Sender,
    pub(crate) fault: Option<Fault>,
}

impl Publisher for Publishing {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        match &self.sender {
            Sender::Channel(channel) => channel.publish(message).await,
            Sender::Nats(nats) => nats.publish(message).await,
        }?;
        Fault::MessagePublished.reached(self.fault).await;
        Ok(())
    }
}

/// The consumer's end.
pub(crate) enum Deliveries {
    Channel(mpsc::Receiver<outbox::Delivery>),
    Nats(Box<Nats>),
}

impl Deliveries {
    /// The next one. `room` is how many can be taken care of. `None` when the channel is closed: the
    /// relay has ended.
    pub(crate) async fn next(&mut self, room: usize) -> Option<Delivery> {
        match self {
            Self::Channel(channel) => channel.recv().await.map(Delivery::Channel),
            Self::Nats(nats) => Some(Delivery::Nats(Box::new(nats.next(room).await))),
        }
    }
}

/// A message that waits for its acknowledgement. Without one it is delivered again.
pub(crate) enum Delivery {
    Channel(outbox::Delivery),
    Nats(Box<async_nats::jetstream::Message>),
}

impl Delivery {
    pub(crate) fn payload(&self) -> &Bytes {
        match self {
            Self::Channel(delivery) => delivery.message().payload(),
            Self::Nats(message) => &message.payload,
        }
    }

    /// It was taken care of.
    pub(crate) async fn acknowledge(self) {
        match self {
            Self::Channel(delivery) => delivery.ack(),
            Self::Nats(message) => nats::answer(*message, nats::AckKind::Ack).await,
        }
    }

    /// It is to be delivered again, not before `pause` is over.
    pub(crate) async fn again(self, pause: Duration, why: &str) {
        match self {
            // The relay has a pause of its own.
            Self::Channel(delivery) => delivery.reject(why),
            Self::Nats(message) => nats::answer(*message, nats::AckKind::Nak(Some(pause))).await,
        }
    }

    /// It can never be taken care of: somebody has to look.
    pub(crate) async fn refuse(self, why: &str) {
        match self {
            // In the end a dead letter in the outbox.
            Self::Channel(delivery) => delivery.reject(why),
            Self::Nats(message) => nats::answer(*message, nats::AckKind::Term).await,
        }
    }
}
