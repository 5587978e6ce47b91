//! The store of a SQLite database.

mod acquire;
mod builder;
mod clock;
mod error;
mod look;
mod sql;
mod transaction;

use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, KeyState, Lease, Record, StorageKey, Store, StoreError,
};
use sqlx::{
    Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction, pool::PoolConnection,
    query::Query, sqlite::SqliteArguments,
};

pub use self::{builder::SqliteStoreBuilder, error::SqliteError, transaction::begin_immediate};
use self::{
    clock::{after, now},
    error::Failed,
    look::Seen,
};
use crate::{fields, micros::micros, purger::Purger};

/// How often a call waits for a lock, each time as long as the busy timeout.
const WAITS: usize = 2;
/// How many keys one transaction purges at the most, so that it is short.
const BATCH: usize = 500;

/// Keeps leases and records in a SQLite database: the durable store of a service on one machine.
///
/// Nothing but a file is needed. What a call has answered survives a crash of the process and of the
/// machine; several processes of one machine may share the file. Cloning it is cheap.
///
/// SQLite lets one transaction write at a time. The store writes in single statements and short
/// transactions; a handler's own open transaction keeps everything else waiting, the renewal of its
/// lease included, so it should be short too.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
///
/// use idempotent_runtime::Idempotency;
/// use idempotent_sqlx::SqliteStore;
///
/// # async fn example() -> Result<(), idempotent_runtime::StoreError> {
/// let store = SqliteStore::connect("sqlite:payments.db").await?;
/// store.migrate().await?;
/// store.spawn_purger(Duration::from_secs(60)).detach();
/// let idempotency = Idempotency::new(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    /// One connection: SQLite has one writer, and those who wait here wait in their turn.
    writer: SqlitePool,
    /// They see what was committed last, whoever is writing.
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens a database with the defaults of [`SqliteStoreBuilder`], and creates the file where there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the URL is not one, or the file cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder().connect(url).await
    }

    /// Configures a store.
    pub fn builder() -> SqliteStoreBuilder {
        SqliteStoreBuilder::default()
    }

    /// Creates the tables, whose names begin with `idempotent_`, where they are missing. Any number of
    /// processes may do it at once, as each does when it begins.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the database refuses.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        patiently(|| async {
            // Asked without a lock: a process that begins beside a long transaction does not wait.
            if is_migrated(&mut *self.writer().await?).await? {
                return Ok(());
            }
            let mut transaction = self.begin().await?;
            if !is_migrated(&mut transaction).await? {
                sqlx::raw_sql(include_str!("sqlite/schema.sql")).execute(&mut *transaction).await?;
            }
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// Removes expired keys now and then `every` so often, until the answer is dropped or
    /// [detached](Purger::detach). Several processes may do so at once.
    pub fn spawn_purger(&self, every: Duration) -> Purger {
        Purger::spawn(self.clone(), every)
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, Failed> {
        Ok(self.0.readers.acquire().await?)
    }

    async fn writer(&self) -> Result<PoolConnection<Sqlite>, Failed> {
        Ok(self.0.writer.acquire().await?)
    }

    /// A transaction that may write from its first statement on.
    ///
    /// Where the disk is full or fails, SQLite ends a transaction by itself. The driver does not learn
    /// of that, and counts it as open: such a connection begins no other one, and is replaced.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Failed> {
        loop {
            match self.0.writer.begin_with("BEGIN IMMEDIATE").await {
                Err(sqlx::Error::InvalidSavePointStatement) => {
                    let connection = self.writer().await?;
                    if connection.is_in_transaction() {
                        drop(connection.detach());
                    }
                }
                begun => return Ok(begun?),
            }
        }
    }

    /// One statement of a lease; lost when it changed nothing.
    async fn owned(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<(), Failed> {
        let mut connection = self.writer().await?;
        match query.execute(&mut *connection).await?.rows_affected() {
            0 => Err(StoreError::LeaseLost.into()),
            _ => Ok(()),
        }
    }

    async fn save_step_once(&self, lease: &Lease, name: &str, value: &[u8]) -> Result<(), Failed> {
        let mut transaction = self.begin().await?;
        insert_step(&mut transaction, lease, name, value).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes as much as a small result takes and takes it back, which leaves its pages in the file: where a
    /// bound of pages or the disk has no room for that, the step does not run.
    async fn reserve_step_once(&self, lease: &Lease, lease_for: Duration) -> Result<(), Failed> {
        /// No step of anybody is called so.
        const NAME: &str = "\u{1}idempotent: room for a step";
        /// More than a row holds beside its key in a page.
        const ROOM: [u8; 1024] = [0; 1024];
        let mut transaction = self.begin().await?;
        let now = now();
        let renew = of_lease(sql::RENEW, lease, now).bind(after(now, lease_for));
        if renew.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StoreError::LeaseLost.into());
        }
        insert_step(&mut transaction, lease, NAME, &ROOM).await?;
        let forget = sqlx::query(sql::FORGET_STEP).bind(&lease.key.as_bytes()[..]).bind(NAME);
        forget.execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn free_once(&self, lease: &Lease, retention: Duration) -> Result<(), Failed> {
        let mut transaction = self.begin().await?;
        let freed = give_back(lease, retention, "freed").execute(&mut *transaction).await?;
        if freed.rows_affected() == 0 {
            return Err(StoreError::LeaseLost.into());
        }
        let forget = sqlx::query(sql::FORGET_STEPS).bind(&lease.key.as_bytes()[..]);
        forget.execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn forget_once(&self, key: &StorageKey, force: bool) -> Result<bool, Failed> {
        let mut transaction = self.begin().await?;
        let (seen, now) = (Seen::of(&mut transaction, key).await, now());
        let known = match &seen {
            Ok(None) => return Ok(false),
            Ok(Some(seen)) if seen.is_leased(now) && !force => {
                return Err(StoreError::StillLeased.into());
            }
            Ok(Some(seen)) => seen.is_known(now),
            // What cannot be read is forgotten all the same: that is how it is repaired.
            Err(Failed::Told(StoreError::Corrupt(_))) => true,
            Err(_) => return seen.map(|_| false),
        };
        sqlx::query(sql::DELETE_LEASE).bind(&key.as_bytes()[..]).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(known)
    }

    /// How many keys were looked at, and how many went.
    async fn purge_once(&self, limit: usize) -> Result<(usize, usize), Failed> {
        let mut transaction = self.begin().await?;
        let (now, mut removed) = (now(), 0);
        let mut due = due(&mut transaction, sql::DUE_RECORDS, now, limit).await?;
        if due.len() < limit {
            let room = limit - due.len();
            due.extend(self::due(&mut transaction, sql::DUE_LEASES, now, room).await?);
        }
        for (key,) in &due {
            let purge = sqlx::query(sql::PURGE).bind(key).bind(now);
            match purge.execute(&mut *transaction).await?.rows_affected() {
                0 => {
                    sqlx::query(sql::PURGE_LATER).bind(key).execute(&mut *transaction).await?;
                }
                _ => removed += 1,
            }
        }
        transaction.commit().await?;
        Ok((due.len(), removed))
    }
}

impl Store for SqliteStore {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        patiently(|| self.acquire_once(&request)).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let metadata = record.metadata().to_json();
        patiently(|| self.owned(insert_record(lease, &record, &metadata, ttl, sql::COMPLETE))).await
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        patiently(|| {
            let now = now();
            self.owned(of_lease(sql::RENEW, lease, now).bind(after(now, lease_for)))
        })
        .await
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        patiently(|| self.reserve_step_once(lease, lease_for)).await
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        patiently(|| self.owned(give_back(lease, retention, "released"))).await
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        patiently(|| self.free_once(lease, retention)).await
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        patiently(|| self.owned(of_lease(sql::ABANDON, lease, now()))).await
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        patiently(|| self.save_step_once(lease, name, &value)).await
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        patiently(|| async {
            let seen = Seen::of(&mut *self.reader().await?, key).await?;
            Ok(seen.map_or(KeyState::Absent, |seen| seen.state(now())))
        })
        .await
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        patiently(|| self.forget_once(key, force)).await
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let batch = (limit - removed).min(BATCH);
            let (looked, gone) = patiently(|| self.purge_once(batch)).await?;
            removed += gone;
            if looked < batch {
                break;
            }
        }
        Ok(removed)
    }

    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("writer", &self.0.writer).finish_non_exhaustive()
    }
}

/// Tries while another connection is writing, a bounded number of times. Busy is never a lost lease.
async fn patiently<T, F>(once: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut waits = WAITS;
    loop {
        match once().await {
            Err(Failed::Busy(_)) if waits > 0 => waits -= 1,
            answer => return Ok(answer?),
        }
    }
}

/// A statement with the four arguments that each step of a lease compares.
fn of_lease<'q>(
    sql: &'static str,
    lease: &'q Lease,
    now: i64,
) -> Query<'q, Sqlite, SqliteArguments> {
    sqlx::query(sql)
        .bind(&lease.key.as_bytes()[..])
        .bind(&lease.id.as_bytes()[..])
        .bind(fields::token_column(lease))
        .bind(now)
}

/// Ends a lease without an outcome.
fn give_back<'q>(
    lease: &'q Lease,
    retention: Duration,
    state: &'static str,
) -> Query<'q, Sqlite, SqliteArguments> {
    let now = now();
    of_lease(sql::GIVE_BACK, lease, now)
        .bind(after(0, retention))
        .bind(after(now, retention))
        .bind(state)
}

fn insert_record<'q>(
    lease: &'q Lease,
    record: &'q Record,
    metadata: &'q str,
    ttl: Duration,
    sql: &'static str,
) -> Query<'q, Sqlite, SqliteArguments> {
    let now = now();
    of_lease(sql, lease, now)
        .bind(&record.fingerprint().as_bytes()[..])
        .bind(fields::status(record.metadata()))
        .bind(metadata)
        .bind(&record.body()[..])
        .bind(after(now, ttl))
}

/// Whether it was inserted; `false` when an equal one is there.
async fn insert_step(
    connection: &mut SqliteConnection,
    lease: &Lease,
    name: &str,
    value: &[u8],
) -> Result<bool, Failed> {
    let now = now();
    let insert = of_lease(sql::INSERT_STEP, lease, now).bind(name).bind(value);
    if insert.execute(&mut *connection).await?.rows_affected() == 1 {
        return Ok(true);
    }
    let saved = sqlx::query_scalar(sql::SAVED_STEP)
        .bind(&lease.key.as_bytes()[..])
        .bind(&lease.id.as_bytes()[..])
        .bind(fields::token_column(lease))
        .bind(now)
        .bind(name)
        .bind(value);
    match saved.fetch_optional(connection).await? {
        Some(true) => Ok(false),
        Some(false) => Err(StoreError::StepConflict { name: name.into() }.into()),
        None => Err(StoreError::LeaseLost.into()),
    }
}

async fn due(
    connection: &mut SqliteConnection,
    sql: &'static str,
    now: i64,
    limit: usize,
) -> Result<Vec<(Vec<u8>,)>, Failed> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(sqlx::query_as(sql).bind(now).bind(limit).fetch_all(connection).await?)
}

async fn is_migrated(connection: &mut SqliteConnection) -> Result<bool, Failed> {
    let sql = "select 1 from sqlite_schema where name = 'idempotent_migrations'";
    Ok(sqlx::query(sql).fetch_optional(connection).await?.is_some())
}
