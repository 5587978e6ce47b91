//! The database of payments. Effects are counted here: a payment that was made twice is there twice.

mod memory;

use std::sync::Arc;

use serde::Serialize;

use self::memory::Memory;
use crate::{
    options::Database,
    payment::{Amount, NewPayment, Payment},
};

/// The payments, wherever they are kept. Clones are the same ledger.
#[derive(Clone, Debug)]
pub(crate) enum Ledger {
    Memory(Arc<Memory>),
}

/// What `GET /payments` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    /// How many payments were ever made.
    pub(crate) count: usize,
    /// The newest first.
    pub(crate) payments: Vec<Payment>,
}

/// Why nothing was refunded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefundError {
    #[error("there is no payment with this id")]
    UnknownPayment,
    #[error("{left} minor units are left to refund, fewer than asked for")]
    TooMuch { left: i64 },
}

#[expect(clippy::unused_async, reason = "other databases will have to be waited for")]
impl Ledger {
    pub(crate) fn open(database: &Database) -> Self {
        match database {
            Database::Memory => Self::Memory(Arc::default()),
        }
    }

    /// Makes a payment: the effect that must not happen twice.
    pub(crate) async fn pay(&self, new: NewPayment, attempt: u32) -> Payment {
        let payment = match self {
            Self::Memory(memory) => memory.pay(new, attempt),
        };
        tracing::info!(payment = payment.id, attempt, "paid");
        payment
    }

    /// Pays back `amount` of a payment.
    pub(crate) async fn refund(
        &self,
        id: u64,
        amount: Amount,
        attempt: u32,
    ) -> Result<Payment, RefundError> {
        let payment = match self {
            Self::Memory(memory) => memory.refund(id, amount, attempt),
        }?;
        tracing::info!(payment = id, attempt, amount = amount.minor_units(), "refunded");
        Ok(payment)
    }

    pub(crate) async fn payment(&self, id: u64) -> Option<Payment> {
        match self {
            Self::Memory(memory) => memory.payment(id),
        }
    }

    /// The newest payments, at most `limit`.
    pub(crate) async fn newest(&self, limit: usize) -> Page {
        match self {
            Self::Memory(memory) => memory.newest(limit),
        }
    }
}
