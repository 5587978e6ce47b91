//! A broker of one process: a channel whose messages are acknowledged.

use idempotent_runtime::BoxError;
use tokio::sync::{mpsc, oneshot};

use super::{OutboxMessage, PublishError, Publisher};

/// Publishes to a channel of this process: the broker for tests, and for applications of one process
/// that have none. A message counts as published when its consumer acknowledges it, so that none is
/// lost with a process that ends in between.
///
/// ```
/// use idempotent_sqlx::outbox::ChannelPublisher;
///
/// # async fn example() {
/// let (publisher, mut deliveries) = ChannelPublisher::new(16);
/// # let _ = publisher;
/// while let Some(delivery) = deliveries.recv().await {
///     println!("{:?}", delivery.message().payload());
///     delivery.ack();
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ChannelPublisher(mpsc::Sender<Delivery>);

impl ChannelPublisher {
    /// A channel that holds up to `capacity` deliveries (at least 1).
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self(sender), receiver)
    }
}

impl Publisher for ChannelPublisher {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        let (verdict, told) = oneshot::channel();
        let delivery = Delivery { message: message.clone(), verdict };
        self.0
            .send(delivery)
            .await
            .map_err(|_| PublishError::unavailable("nobody receives from the channel any more"))?;
        match told.await {
            Ok(verdict) => verdict.map_err(PublishError::Transient),
            Err(_) => Err(PublishError::transient("the delivery was dropped unacknowledged")),
        }
    }
}

/// A message that waits for its acknowledgement. Dropped without one, it is delivered again after a
/// pause.
#[derive(Debug)]
#[must_use = "a delivery that is dropped unacknowledged is delivered again"]
pub struct Delivery {
    message: OutboxMessage,
    verdict: oneshot::Sender<Result<(), BoxError>>,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &OutboxMessage {
        &self.message
    }

    /// The message was taken care of.
    pub fn ack(self) {
        // A relay that gave up waiting delivers it again.
        let _ = self.verdict.send(Ok(()));
    }

    /// The message could not be taken care of; `error` is kept beside it.
    pub fn reject(self, error: impl Into<BoxError>) {
        let _ = self.verdict.send(Err(error.into()));
    }
}
