//! What stands in requests, answers, messages and records.

use axum_extra::headers::ETag;
use bytes::Bytes;
use idempotent_sqlx::outbox::Message;
use serde::{Deserialize, Serialize};

/// What somebody orders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    pub(crate) item: Text,
    pub(crate) quantity: Quantity,
    pub(crate) address: Text,
}

/// What may be changed until it is shipped: `PUT` replaces all of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) quantity: Quantity,
    pub(crate) address: Text,
}

/// An order as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) quantity: i64,
    pub(crate) address: String,
    pub(crate) status: String,
    /// Grows with each change; the `ETag`.
    #[serde(skip)]
    pub(crate) version: i64,
}

impl Order {
    pub(crate) fn is_shipped(&self) -> bool {
        self.status == "shipped"
    }

    /// The version of an order is a strong validator: it changes with every byte of its answer.
    #[expect(clippy::expect_used, reason = "digits in quotes are an entity tag")]
    pub(crate) fn etag(&self) -> ETag {
        format!("\"{}\"", self.version).parse().expect("an entity tag")
    }
}

/// Says that an order was placed. It travels through the outbox and the broker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OrderPlaced {
    /// The message id. It is derived from the client's idempotency key, so there is one for each
    /// order, in whichever attempt it was placed.
    pub(crate) id: String,
    pub(crate) order: i64,
}

impl OrderPlaced {
    /// The topic, a subject of NATS.
    pub(crate) const TOPIC: &str = "orders.placed";

    /// Messages of one order are published in their order.
    pub(crate) fn message(&self) -> Message {
        let payload = serde_json::json!(self).to_string();
        Message::new(&self.id, Self::TOPIC, payload)
            .partition(self.order.to_string())
            .header("content-type", "application/json")
    }

    pub(crate) fn read(payload: &Bytes) -> serde_json::Result<Self> {
        serde_json::from_slice(payload)
    }
}

/// What came of a message: the value that is recorded, and given to each of its later deliveries.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Shipment {
    pub(crate) shipment: i64,
    pub(crate) order: i64,
}

/// Text of 1 to 200 characters.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.chars().count() {
            // A database of PostgreSQL has no text with NUL.
            1..=200 if !text.contains('\0') => Ok(Self(text)),
            _ => Err("expected 1 to 200 characters"),
        }
    }
}

/// How many of an item: 1 to 1000.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Quantity(i64);

impl Quantity {
    pub(crate) fn number(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match number {
            1..=1000 => Ok(Self(number)),
            _ => Err("expected a number from 1 to 1000"),
        }
    }
}
