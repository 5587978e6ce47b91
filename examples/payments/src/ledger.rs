//! The database of payments. Effects are counted here: a payment that was made twice is there twice.

mod memory;
mod postgres;
mod sql;
mod sqlite;

use std::sync::Arc;

use axum::response::Response;
use idempotent_runtime::{Attempt, RecordError};
use idempotent_sqlx::sqlx;
use serde::Serialize;

use self::{memory::Memory, postgres::Postgres, sqlite::Sqlite};
use crate::{
    options::{Database, Store},
    payment::{Amount, NewPayment, Payment},
    startup::StartError,
};

/// The payments, wherever they are kept. Clones are the same ledger.
#[derive(Clone)]
pub(crate) enum Ledger {
    Memory(Arc<Memory>),
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Changes that happen together, at the [`commit`](Self::commit). Dropped before, none of them does.
pub(crate) enum Transaction {
    /// A change in memory happens at once: there is nothing between it and the commit that could fail.
    Memory(Arc<Memory>),
    Sqlite(sqlite::Transaction),
    Postgres(postgres::Transaction),
}

/// What `GET /payments` answers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Page {
    /// How many payments were ever made.
    pub(crate) count: u64,
    /// The newest first.
    pub(crate) payments: Vec<Payment>,
}

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("there is no payment with this id")]
    UnknownPayment,
    #[error("{left} minor units are left to refund, fewer than asked for")]
    TooMuch { left: i64 },
    #[error("the database of payments could not be asked")]
    Database(#[from] sqlx::Error),
    #[error("the database of payments did not answer in time")]
    Slow,
    #[error("the answer could not be recorded beside the payment")]
    Record(#[from] RecordError),
}

impl Ledger {
    /// Opens the database, and creates the table of payments where there is none.
    pub(crate) async fn open(database: &Database, store: &Store) -> Result<Self, StartError> {
        let records_here = *store == Store::Database;
        Ok(match database {
            Database::Memory => Self::Memory(Arc::default()),
            Database::Sqlite(url) => Self::Sqlite(Sqlite::open(url, records_here).await?),
            Database::Postgres(url) => Self::Postgres(Postgres::open(url, records_here).await?),
        })
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, LedgerError> {
        Ok(match self {
            Self::Memory(memory) => Transaction::Memory(Arc::clone(memory)),
            Self::Sqlite(sqlite) => Transaction::Sqlite(sqlite.begin().await?),
            Self::Postgres(postgres) => Transaction::Postgres(postgres.begin().await?),
        })
    }

    pub(crate) async fn payment(&self, id: u64) -> Result<Payment, LedgerError> {
        match self {
            Self::Memory(memory) => memory.payment(id),
            Self::Sqlite(sqlite) => sqlite.payment(id).await?,
            Self::Postgres(postgres) => postgres.payment(id).await?,
        }
        .ok_or(LedgerError::UnknownPayment)
    }

    /// The newest payments, at most `limit`.
    pub(crate) async fn newest(&self, limit: u32) -> Result<Page, LedgerError> {
        Ok(match self {
            Self::Memory(memory) => memory.newest(limit),
            Self::Sqlite(sqlite) => sqlite.newest(limit).await?,
            Self::Postgres(postgres) => postgres.newest(limit).await?,
        })
    }
}

impl Transaction {
    /// Makes a payment: the effect that must not happen twice.
    pub(crate) async fn pay(
        &mut self,
        new: NewPayment,
        attempt: u32,
    ) -> Result<Payment, LedgerError> {
        let payment = match self {
            Self::Memory(memory) => memory.pay(new, attempt),
            Self::Sqlite(transaction) => transaction.pay(new, attempt).await?,
            Self::Postgres(transaction) => transaction.pay(new, attempt).await?,
        };
        tracing::info!(payment = payment.id, attempt, "paid");
        Ok(payment)
    }

    /// Pays back `amount` of a payment.
    pub(crate) async fn refund(
        &mut self,
        id: u64,
        amount: Amount,
        attempt: u32,
    ) -> Result<Payment, LedgerError> {
        let payment = match self {
            Self::Memory(memory) => memory.refund(id, amount, attempt),
            Self::Sqlite(transaction) => transaction.refund(id, amount, attempt).await,
            Self::Postgres(transaction) => transaction.refund(id, amount, attempt).await,
        }?;
        tracing::info!(payment = id, attempt, amount = amount.minor_units(), "refunded");
        Ok(payment)
    }

    /// Makes the changes happen, and with them the record of `answer` where the records are in the
    /// same database: both or neither, whatever is killed when.
    pub(crate) async fn commit(
        self,
        attempt: &Attempt,
        answer: Response,
    ) -> Result<Response, LedgerError> {
        match self {
            Self::Memory(_) => Ok(answer),
            Self::Sqlite(transaction) => transaction.commit(attempt, answer).await,
            Self::Postgres(transaction) => transaction.commit(attempt, answer).await,
        }
    }
}
