//! How a [`SqliteStore`] is opened.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use idempotent_runtime::StoreError;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Failed, Inner, SqliteError, SqliteStore, patiently};

/// Configures a [`SqliteStore`].
///
/// | option | default |
/// |---|---|
/// | [`readers`](Self::readers) | 4 |
/// | [`busy_timeout`](Self::busy_timeout) | 1 s |
/// | [`acquire_timeout`](Self::acquire_timeout) | 5 s |
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteStoreBuilder {
    readers: u32,
    busy_timeout: Duration,
    acquire_timeout: Duration,
}

impl Default for SqliteStoreBuilder {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout: Duration::from_secs(1),
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

impl SqliteStoreBuilder {
    /// Sets how many connections read. One more writes.
    pub fn readers(mut self, connections: u32) -> Self {
        self.readers = connections.max(1);
        self
    }

    /// Sets how long a call waits for a transaction that is writing. It waits three times at the most
    /// before it answers that the store is unavailable.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a call waits for its turn among the calls of this process.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Opens a URL such as `sqlite:payments.db` or `sqlite:///var/lib/payments.db`, and creates the
    /// file where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the URL is not one, names a database in memory, or the file
    /// cannot be opened.
    pub async fn connect(self, url: &str) -> Result<SqliteStore, StoreError> {
        self.open(SqliteConnectOptions::from_str(url).map_err(SqliteError::Database)?).await
    }

    /// Opens a database with other options of the driver. What the store needs is set here: the
    /// write-ahead log, `synchronous = FULL`, foreign keys.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it is a database in memory, or the file cannot be opened.
    pub async fn open(self, options: SqliteConnectOptions) -> Result<SqliteStore, StoreError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode the default of many distributions loses the last transactions with the power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(self.busy_timeout);
        // Processes that open a new file at once are in each other's way for a moment.
        let writer = patiently(|| async { Ok(self.pool(1).connect_with(options.clone()).await?) });
        let writer = writer.await?;
        let mode: String = sqlx::query_scalar("select journal_mode from pragma_journal_mode")
            .fetch_one(&writer)
            .await
            .map_err(|error| StoreError::from(Failed::from(error)))?;
        if mode != "wal" {
            return Err(SqliteError::NoLog(mode.into()).into());
        }
        let options = options.create_if_missing(false).pragma("query_only", "on");
        let readers: SqlitePool = self.pool(self.readers).connect_lazy_with(options);
        Ok(SqliteStore(Arc::new(Inner { writer, readers })))
    }

    fn pool(&self, connections: u32) -> SqlitePoolOptions {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(self.acquire_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    }
}
