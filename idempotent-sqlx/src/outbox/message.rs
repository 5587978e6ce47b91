//! What goes into the outbox and what the publisher gets of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{error::OutboxError, slot::Slot};

/// A message to [`enqueue`](super::Outbox::enqueue).
///
/// ```
/// use idempotent_sqlx::outbox::Message;
///
/// let message = Message::new("3f2a…", "orders.created", r#"{"order":7}"#)
///     .partition("order-7")
///     .header("content-type", "application/json");
/// # let _ = message;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is enqueued"]
pub struct Message {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) partition: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: Bytes,
}

impl Message {
    /// The longest id, topic and partition key, in bytes.
    pub const MAX_NAME_BYTES: usize = 1024;

    /// A message with an id, for a topic, with a payload.
    ///
    /// The id is what the broker and its consumers tell duplicates by. In a guarded handler it is
    /// derived from the idempotency key: `attempt.downstream_key("order-created")` is the same in
    /// every attempt of one life of the key and differs from that of every other operation. A key that
    /// is used again after its ttl is a new message. An operation that enqueues several messages gives
    /// each a name of its own.
    pub fn new(id: impl Into<String>, topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            id: id.into(),
            topic: topic.into(),
            partition: None,
            headers: Vec::new(),
            payload: payload.into(),
        }
    }

    /// Sets the partition key: messages of one partition are published in their order. Without one a
    /// message has a partition of its own, named like its id.
    pub fn partition(mut self, key: impl Into<String>) -> Self {
        self.partition = Some(key.into());
        self
    }

    /// Adds a header. A name may be given several times.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn partition_key(&self) -> &str {
        self.partition.as_deref().unwrap_or(&self.id)
    }

    pub(super) fn slot(&self) -> Slot {
        Slot::of(self.partition_key())
    }

    /// An array of pairs, in the order they were given.
    pub(super) fn headers_json(&self) -> String {
        let pairs = self.headers.iter().map(|(name, value)| vec![name.as_str(), value]);
        pairs.collect::<serde_json::Value>().to_string()
    }

    /// What every database can keep.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        let names =
            [("id", &*self.id), ("topic", &self.topic), ("partition key", self.partition_key())];
        for (what, value) in names {
            if value.is_empty() || value.len() > Self::MAX_NAME_BYTES || value.contains('\0') {
                return Err(OutboxError::InvalidMessage(what));
            }
        }
        Ok(())
    }
}

/// A message on its way to the broker. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct OutboxMessage(Arc<Stored>);

/// As it was read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) partition: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: Bytes,
    pub(super) attempts: u32,
    pub(super) age: Duration,
}

impl OutboxMessage {
    pub(super) fn new(stored: Stored) -> Self {
        Self(Arc::new(stored))
    }

    /// The message id. Every publication of the message carries it: hand it to the broker as what it
    /// deduplicates by (`Nats-Msg-Id` of NATS JetStream).
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Where the message goes.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The partition key; the id where none was given.
    pub fn partition(&self) -> &str {
        &self.0.partition
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// Which attempt to publish it this is: 1, 2, … A relay that was killed in an attempt did not
    /// count it.
    pub fn attempt(&self) -> u32 {
        self.0.attempts.saturating_add(1)
    }

    /// How long ago it was enqueued, when the relay read it.
    pub fn age(&self) -> Duration {
        self.0.age
    }
}

/// A message that was given up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message.
    pub message: OutboxMessage,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last attempt said.
    pub error: String,
    /// How long ago it was given up.
    pub dead_for: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_no_database_can_keep_is_refused() {
        let refused = |message: Message| message.check().is_err();
        assert!(refused(Message::new("", "topic", "")));
        assert!(refused(Message::new("id", "to\0pic", "")));
        assert!(refused(Message::new("id", "topic", "").partition("")));
        assert!(refused(Message::new("i".repeat(1025), "topic", "")));
        assert!(!refused(Message::new("i".repeat(1024), "topic", "")));
    }

    #[test]
    fn headers_keep_their_order_and_their_bytes() {
        let message =
            Message::new("id", "topic", "").header("b", "\"1\"").header("a", "\0").header("b", "é");
        assert_eq!(message.headers_json(), r#"[["b","\"1\""],["a","\u0000"],["b","é"]]"#);
    }
}
