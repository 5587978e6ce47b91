//! Payments in a PostgreSQL database.

use std::{str::FromStr as _, time::Duration};

use axum::response::{IntoResponse as _, Response};
use idempotent_runtime::Attempt;
use idempotent_sqlx::{
    RecordIn as _,
    sqlx::{
        self, Connection as _, PgConnection, PgPool,
        postgres::{PgConnectOptions, PgPoolOptions},
        query, query_as, query_scalar, raw_sql,
    },
};
use tokio::time::timeout;

use super::{LedgerError, Page, sql};
use crate::{
    payment::{Amount, NewPayment, Payment},
    startup::StartError,
};

/// `create table if not exists` fails where two do it at once, so they take turns.
const SCHEMA: &str = "begin;
select pg_advisory_xact_lock(hashtext('payments'));
create table if not exists payments (
    id bigint generated always as identity primary key,
    amount bigint not null check (amount > 0),
    currency text not null,
    refunded bigint not null default 0 check (refunded between 0 and amount),
    attempt bigint not null
);
commit";

/// How long a statement may take: a server that hangs is one that is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a connection that goes back to the pool may take to answer: less than those have patience
/// who wait for its place.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Postgres {
    pool: PgPool,
    records_here: bool,
}

pub(crate) struct Transaction {
    inner: sqlx::PgTransaction<'static>,
    records_here: bool,
}

impl Postgres {
    pub(super) async fn open(url: &str, records_here: bool) -> Result<Self, StartError> {
        let pool = connect(url).await.map_err(|error| StartError::postgres(url, &error))?;
        Ok(Self { pool, records_here })
    }

    pub(super) async fn begin(&self) -> Result<Transaction, LedgerError> {
        let inner = soon(self.pool.begin()).await?;
        Ok(Transaction { inner, records_here: self.records_here })
    }

    pub(super) async fn payment(&self, id: u64) -> Result<Option<Payment>, LedgerError> {
        soon(query_as(sql::PAYMENT).bind(sql::id(id)).fetch_optional(&self.pool)).await
    }

    pub(super) async fn newest(&self, limit: u32) -> Result<Page, LedgerError> {
        let newest = query(sql::NEWEST).bind(i64::from(limit)).fetch_all(&self.pool);
        Ok(sql::page(&soon(newest).await?)?)
    }
}

/// The first connection is made without the pool, which would hide why it cannot be made.
async fn connect(url: &str) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?;
    let first = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        raw_sql(SCHEMA).execute(&mut connection).await?;
        connection.close().await
    };
    timeout(PATIENCE, first).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let pool = PgPoolOptions::new().acquire_timeout(PATIENCE).after_release(|connection, _| {
        // The pool would wait for the answer of a server that is gone without a word, and have one
        // place less for good.
        Box::pin(async { Ok(matches!(timeout(SIGN_OF_LIFE, connection.ping()).await, Ok(Ok(())))) })
    });
    Ok(pool.connect_lazy_with(options))
}

async fn soon<T, E>(asked: impl Future<Output = Result<T, E>>) -> Result<T, LedgerError>
where
    LedgerError: From<E>,
{
    Ok(timeout(PATIENCE, asked).await.map_err(|_| LedgerError::Slow)??)
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
        soon(paid).await
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
        if let Some(payment) = soon(refunded).await? {
            return Ok(payment);
        }
        let left = query_scalar(sql::LEFT).bind(id).fetch_optional(&mut *self.inner);
        let left = soon(left).await?;
        Err(left.map_or(LedgerError::UnknownPayment, |left| LedgerError::TooMuch { left }))
    }

    pub(super) async fn commit(
        mut self,
        attempt: &Attempt,
        answer: Response,
    ) -> Result<Response, LedgerError> {
        if !(self.records_here && sql::is_recordable(&answer)) {
            // Waited for, however long it takes: if it happened, nobody else would know.
            self.inner.commit().await?;
            return Ok(answer);
        }
        let recorded = soon(attempt.record_in(&mut self.inner, answer)).await?;
        soon(self.inner.commit()).await?;
        Ok(recorded.into_response())
    }
}
