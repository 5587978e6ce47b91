//! Writing in a handler's own transaction.

use std::{future::Future, time::Duration};

use idempotent_runtime::{Lease, Record, StoreError};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{Failed, SqliteStore, insert_record, insert_step, sql};
use crate::record::{Refused, Transactional, Unfit, sealed::Sealed};

/// Begins a transaction that may write from its first statement on.
///
/// Handlers use it in place of `pool.begin()`: a transaction that reads first and writes then fails at
/// once, whatever the busy timeout, when another has written in between.
///
/// ```no_run
/// # async fn example(pool: idempotent_sqlx::sqlx::SqlitePool) -> Result<(), idempotent_sqlx::sqlx::Error> {
/// let mut tx = idempotent_sqlx::sqlite::begin_immediate(&pool).await?;
/// // … the effect, and `attempt.record_in(&mut tx, answer)` …
/// tx.commit().await
/// # }
/// ```
///
/// # Errors
///
/// Those of the driver; busy (5) when another transaction was writing for longer than the pool's busy
/// timeout.
pub fn begin_immediate(
    pool: &SqlitePool,
) -> impl Future<Output = Result<Transaction<'static, Sqlite>, sqlx::Error>> + Send + '_ {
    pool.begin_with("BEGIN IMMEDIATE")
}

impl Sealed for Sqlite {}

impl Transactional for Sqlite {
    type Store = SqliteStore;

    async fn write_record(
        _: &SqliteStore,
        connection: &mut SqliteConnection,
        lease: &Lease,
        record: &Record,
        ttl: Duration,
    ) -> Result<(), Refused> {
        if has_ended(connection).await {
            return Err(Refused::Database(Unfit::Ended.into()));
        }
        if is_nested(connection).await {
            return Err(Refused::Database(Unfit::Nested.into()));
        }
        let metadata = record.metadata().to_json();
        let insert = insert_record(lease, record, &metadata, ttl, sql::RECORD);
        match insert.execute(&mut *connection).await?.rows_affected() {
            0 if !enforces_foreign_keys(connection).await => {
                Err(Refused::Database(Unfit::ForeignKeysOff.into()))
            }
            0 => Err(Refused::LeaseLost),
            _ => Ok(()),
        }
    }

    async fn write_step(
        _: &SqliteStore,
        connection: &mut SqliteConnection,
        lease: &Lease,
        name: &str,
        value: &[u8],
    ) -> Result<(), Refused> {
        if has_ended(connection).await {
            return Err(Refused::Database(Unfit::Ended.into()));
        }
        if !enforces_foreign_keys(connection).await {
            return Err(Refused::Database(Unfit::ForeignKeysOff.into()));
        }
        match insert_step(connection, lease, name, value).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(Failed::Told(StoreError::StepConflict { .. })) => {
                Err(Refused::Duplicate)
            }
            Err(Failed::Told(StoreError::LeaseLost)) => Err(Refused::LeaseLost),
            Err(Failed::Busy(error)) => Err(error.into()),
            Err(Failed::Told(error)) => Err(Refused::Database(error.into())),
        }
    }

    async fn poison(connection: &mut SqliteConnection) {
        // A savepoint that is rolled back would take the poison with it, and leave what is around it.
        if is_nested(connection).await {
            begin_anew(connection).await;
        }
        // A failed statement does not fail a transaction of SQLite. A deferred foreign key that refers
        // to nothing does, at its commit.
        let enforced = enforces_foreign_keys(connection).await;
        if enforced && sqlx::raw_sql(sql::POISON).execute(&mut *connection).await.is_ok() {
            return;
        }
        // Where that cannot be: what was done is undone, and what comes is not the handler's effect.
        begin_anew(connection).await;
    }
}

/// Undoes everything. What comes next is in a transaction again, which may have ended by itself.
async fn begin_anew(connection: &mut SqliteConnection) {
    for statement in ["rollback", "begin"] {
        let _ = sqlx::raw_sql(statement).execute(&mut *connection).await;
    }
}

/// Whether SQLite has ended the transaction by itself, as it does where the disk is full or a statement
/// says `or rollback`: what is written then stands alone. Another one can begin only where none is.
async fn has_ended(connection: &mut SqliteConnection) -> bool {
    sqlx::raw_sql("begin").execute(connection).await.is_ok()
}

/// `false` also where it cannot be told.
async fn enforces_foreign_keys(connection: &mut SqliteConnection) -> bool {
    let asked = sqlx::query_scalar(sql::FOREIGN_KEYS).fetch_one(connection).await;
    asked.is_ok_and(|on: i64| on == 1)
}

/// Whether the driver has begun a savepoint in the transaction. SQLite tells of no savepoint but by
/// going back to it, which fails and does nothing where there is none.
async fn is_nested(connection: &mut SqliteConnection) -> bool {
    sqlx::raw_sql(sql::BACK_TO_SAVEPOINT).execute(connection).await.is_ok()
}
