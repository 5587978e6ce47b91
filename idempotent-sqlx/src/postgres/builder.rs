//! How a [`PostgresStore`] is configured.

use std::{str::FromStr as _, time::Duration};

use idempotent_runtime::StoreError;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{PostgresError, PostgresStore};

/// Configures a [`PostgresStore`].
///
/// | option | default |
/// |---|---|
/// | [`schema`](Self::schema) | `idempotent` |
/// | [`max_connections`](Self::max_connections) | 10 |
/// | [`acquire_timeout`](Self::acquire_timeout) | 2 s |
/// | [`prepared_statements`](Self::prepared_statements) | on |
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresStoreBuilder {
    schema: Box<str>,
    max_connections: u32,
    acquire_timeout: Duration,
    prepared: bool,
}

impl Default for PostgresStoreBuilder {
    fn default() -> Self {
        Self {
            schema: "idempotent".into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(2),
            prepared: true,
        }
    }
}

impl PostgresStoreBuilder {
    /// Sets the schema that holds the tables. Services that share a database without sharing keys
    /// have a schema each.
    ///
    /// # Panics
    ///
    /// When `schema` is not 1 to 63 lower-case letters, digits and underscores, of which the first is
    /// no digit.
    pub fn schema(mut self, schema: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            (1..=63).contains(&schema.len())
                && schema.bytes().all(plain)
                && !schema.starts_with(|first: char| first.is_ascii_digit()),
            "the schema `{schema}` is not made of lower-case letters, digits and underscores",
        );
        self.schema = schema.into();
        self
    }

    /// Sets how many connections the store opens at the most. Each step takes one for a single round
    /// trip; a `release` that waits for a handler's open transaction holds one meanwhile.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets how long a call waits for a connection, a new one included.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets whether statements are prepared, each once for a connection. Turn it off behind a pooler
    /// that gives each transaction to another server without knowing of prepared statements
    /// (PgBouncer before 1.21 with `pool_mode = transaction`): every step is then one message of the
    /// simple protocol.
    pub fn prepared_statements(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }

    /// Connects with a URL such as `postgres://user:password@host/database`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the URL is not one, or the database cannot be reached.
    pub async fn connect(self, url: &str) -> Result<PostgresStore, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(PostgresError::Database)?;
        let pool = PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.acquire_timeout)
            // A round trip for each call. A dead connection is met by a second try instead.
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(PostgresError::Database)?;
        Ok(self.pool(pool))
    }

    /// Uses a pool, which should be the store's own: handlers that hold all connections of a shared
    /// pool in open transactions keep the store from answering them.
    #[must_use]
    pub fn pool(self, pool: PgPool) -> PostgresStore {
        PostgresStore::with(pool, &self.schema, self.prepared)
    }
}
