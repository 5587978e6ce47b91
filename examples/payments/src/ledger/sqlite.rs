//! Payments in a SQLite file: durable, and nothing to install.

use std::{
    str::FromStr as _,
    time::{Duration, Instant},
};

use axum::response::{IntoResponse as _, Response};
use idempotent_runtime::Attempt;
use idempotent_sqlx::{
    RecordIn as _,
    sqlite::begin_immediate,
    sqlx::{
        self, SqlitePool, query, query_as, query_scalar,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};

use super::{LedgerError, Page, sql};
use crate::{
    payment::{Amount, NewPayment, Payment},
    startup::StartError,
};

const SCHEMA: &str = "create table if not exists payments (
    id integer primary key,
    amount integer not null check (amount > 0),
    currency text not null,
    refunded integer not null default 0 check (refunded between 0 and amount),
    attempt integer not null
) strict";

/// How long a transaction waits for another one to end: there is one writer at a time.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Sqlite {
    pool: SqlitePool,
    records_here: bool,
}

pub(crate) struct Transaction {
    inner: sqlx::SqliteTransaction<'static>,
    records_here: bool,
}

impl Sqlite {
    pub(super) async fn open(url: &str, records_here: bool) -> Result<Self, StartError> {
        let pool = connect(url).await.map_err(|error| StartError::sqlite(url, &error))?;
        Ok(Self { pool, records_here })
    }

    /// With the lock of the one writer from the beginning: a transaction that reads first and wants
    /// to write later fails when another one wrote in between.
    pub(super) async fn begin(&self) -> Result<Transaction, LedgerError> {
        let inner = begin_immediate(&self.pool).await?;
        Ok(Transaction { inner, records_here: self.records_here })
    }

    pub(super) async fn payment(&self, id: u64) -> Result<Option<Payment>, LedgerError> {
        Ok(query_as(sql::PAYMENT).bind(sql::id(id)).fetch_optional(&self.pool).await?)
    }

    pub(super) async fn newest(&self, limit: u32) -> Result<Page, LedgerError> {
        Ok(sql::page(&query(sql::NEWEST).bind(limit).fetch_all(&self.pool).await?)?)
    }
}

/// Turning the write-ahead log on is refused, not waited for, while another process does it.
async fn connect(url: &str) -> sqlx::Result<SqlitePool> {
    let until = Instant::now() + BUSY;
    loop {
        match connect_once(url).await {
            Err(sqlx::Error::Database(error))
                if error.message().contains("locked") && Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            connected => return connected,
        }
    }
}

async fn connect_once(url: &str) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY);
    let pool = SqlitePoolOptions::new().acquire_timeout(BUSY).connect_with(options).await?;
    query(SCHEMA).execute(&pool).await?;
    Ok(pool)
}

impl Transaction {
    pub(super) async fn pay(
        &mut self,
        new: NewPayment,
        attempt: u32,
    ) -> Result<Payment, LedgerError> {
        let NewPayment { amount, currency } = new;
        let paid = query_as(sql::PAY)
            .bind(amount.minor_units())
            .bind(currency.as_str())
            .bind(i64::from(attempt))
            .fetch_one(&mut *self.inner);
        Ok(paid.await?)
    }

    pub(super) async fn refund(
        &mut self,
        id: u64,
        amount: Amount,
        attempt: u32,
    ) -> Result<Payment, LedgerError> {
        let id = sql::id(id);
        let refunded = query_as(sql::REFUND)
            .bind(id)
            .bind(amount.minor_units())
            .bind(i64::from(attempt))
            .fetch_optional(&mut *self.inner);
        if let Some(payment) = refunded.await? {
            return Ok(payment);
        }
        let left = query_scalar(sql::LEFT).bind(id).fetch_optional(&mut *self.inner).await?;
        Err(left.map_or(LedgerError::UnknownPayment, |left| LedgerError::TooMuch { left }))
    }

    pub(super) async fn commit(
        mut self,
        attempt: &Attempt,
        answer: Response,
    ) -> Result<Response, LedgerError> {
        let answer = match self.records_here && sql::is_recordable(&answer) {
            true => attempt.record_in(&mut self.inner, answer).await?.into_response(),
            false => answer,
        };
        self.inner.commit().await?;
        Ok(answer)
    }
}
