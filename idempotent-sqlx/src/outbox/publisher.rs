//! Where messages go.

use std::{future::Future, pin::Pin, sync::Arc};

use idempotent_runtime::BoxError;

use super::OutboxMessage;

/// Hands messages to a broker.
///
/// `Ok` means that the broker *has* the message: wait for its acknowledgement. A relay publishes a
/// message again when it does not know (after a crash, or after an error), always under the same
/// [`id`](OutboxMessage::id), and never publishes the next message of a partition before this one.
///
/// ```
/// use idempotent_sqlx::outbox::{OutboxMessage, PublishError, Publisher};
///
/// struct Print;
///
/// impl Publisher for Print {
///     async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
///         println!("{} {}", message.topic(), message.id());
///         Ok(())
///     }
/// }
/// ```
pub trait Publisher: Send + Sync + 'static {
    /// Publishes one message. Dropped when the relay's `publish_timeout` is over.
    ///
    /// # Errors
    ///
    /// The kind of error decides what becomes of the message.
    fn publish(
        &self,
        message: &OutboxMessage,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;
}

impl<P: Publisher> Publisher for Arc<P> {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        P::publish(self, message).await
    }
}

/// Why a message was not published, as far as is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker cannot be reached or takes nothing at all: it is not this message's fault, no
    /// attempt is counted, and the relay pauses for a while. However long a broker is down, no
    /// message dies of it.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// This message failed and may succeed later: it is tried again after a pause, `max_attempts`
    /// times at the most.
    #[error("{0}")]
    Transient(#[source] BoxError),
    /// This message can never be published: it is a dead letter at once.
    #[error("{0}")]
    Permanent(#[source] BoxError),
}

impl PublishError {
    /// [`PublishError::Unavailable`]
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable(source.into())
    }

    /// [`PublishError::Transient`]
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient(source.into())
    }

    /// [`PublishError::Permanent`]
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent(source.into())
    }
}

type Publication<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// [`Publisher`] with boxed futures.
pub(super) trait ErasedPublisher: Send + Sync + 'static {
    fn publish<'a>(&'a self, message: &'a OutboxMessage) -> Publication<'a>;
}

impl<P: Publisher> ErasedPublisher for P {
    fn publish<'a>(&'a self, message: &'a OutboxMessage) -> Publication<'a> {
        Box::pin(Publisher::publish(self, message))
    }
}
