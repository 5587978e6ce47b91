//! Points at which a test kills the process.
//!
//! Only with `--fault POINT` (hidden) or `ORDERS_FAULT`: what comes to that point says so on stderr
//! and waits, for a SIGKILL that hits between two steps.

use std::{future, str::FromStr};

/// Between which two steps a test kills this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `order-written`: the order, the message and the record are written and not committed.
    OrderWritten,
    /// `order-committed`: they are committed, and nobody was answered.
    OrderCommitted,
    /// `message-published`: the broker has the message, and the outbox does not know.
    MessagePublished,
    /// `shipment-written`: the shipment and its record are written and not committed.
    ShipmentWritten,
    /// `shipment-committed`: they are committed, and the message is not acknowledged.
    ShipmentCommitted,
}

impl Fault {
    const ALL: [(&str, Self); 5] = [
        ("order-written", Self::OrderWritten),
        ("order-committed", Self::OrderCommitted),
        ("message-published", Self::MessagePublished),
        ("shipment-written", Self::ShipmentWritten),
        ("shipment-committed", Self::ShipmentCommitted),
    ];

    /// Waits for ever where `wanted` is this point.
    pub(crate) async fn reached(self, wanted: Option<Self>) {
        if wanted == Some(self) {
            tracing::warn!(point = ?self, "fault: waiting to be killed");
            future::pending::<()>().await;
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, fault)| fault).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}
