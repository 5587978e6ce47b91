//! A database for the tests of this binary, with a schema for each of them.

use std::{
    process::id,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, Lease, LeaseId, Metadata, Record, StorageKey,
    Store as _, StoreError,
};
use idempotent_servers::{Database, PostgresServer};
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{
        PgPool,
        postgres::{PgConnectOptions, PgPoolOptions},
    },
};

/// How the sessions of a store are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Prepared,
    /// Without prepared statements.
    Unprepared,
    /// `default_transaction_isolation = serializable`.
    Serializable,
}

/// A schema of its own.
#[derive(Clone)]
pub(crate) struct Schema {
    database: Arc<Database>,
    pub(crate) name: String,
    pub(crate) mode: Mode,
}

/// Made for the first test, and gone with the last of those that run beside each other.
fn database() -> Option<Arc<Database>> {
    static DATABASE: Mutex<Weak<Database>> = Mutex::new(Weak::new());
    let mut shared = DATABASE.lock().unwrap();
    if let Some(database) = shared.upgrade() {
        return Some(database);
    }
    let database = Arc::new(PostgresServer::shared()?.database());
    *shared = Arc::downgrade(&database);
    Some(database)
}

impl Schema {
    /// `None` where there is no server.
    pub(crate) async fn new(mode: Mode) -> Option<Self> {
        let schema = Self::empty(mode)?;
        schema.store().migrate().await.unwrap();
        Some(schema)
    }

    /// Before `migrate`.
    pub(crate) fn empty(mode: Mode) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("s{}_{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self { database: database()?, name, mode })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// What does not keep the database.
    pub(crate) fn downgrade(&self) -> WeakSchema {
        WeakSchema {
            database: Arc::downgrade(&self.database),
            name: self.name.clone(),
            mode: self.mode,
        }
    }

    /// Another handle: a pool of its own.
    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::builder()
            .schema(&self.name)
            .prepared_statements(self.mode != Mode::Unprepared)
            .pool(self.pool(6))
    }

    pub(crate) fn pool(&self, connections: u32) -> PgPool {
        let mut options: PgConnectOptions = self.database.url().parse().unwrap();
        options = options.application_name(&self.name);
        if self.mode == Mode::Serializable {
            options = options.options([("default_transaction_isolation", "serializable")]);
        }
        PgPoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(options)
    }
}

/// A schema, for as long as there is its database.
pub(crate) struct WeakSchema {
    database: Weak<Database>,
    name: String,
    mode: Mode,
}

impl WeakSchema {
    pub(crate) fn upgrade(self) -> Option<Schema> {
        Some(Schema { database: self.database.upgrade()?, name: self.name, mode: self.mode })
    }
}

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_hours(1);

pub(crate) fn fingerprint() -> Fingerprint {
    Fingerprint::of(&"the request")
}

pub(crate) fn record(body: &str) -> Record {
    Record::new(fingerprint(), Metadata::Value, body.to_owned().into())
}

pub(crate) fn key() -> StorageKey {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    StorageKey::derive(None, Some(&u64::from(id())), "op", &NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn acquire(
    store: &PostgresStore,
    key: &StorageKey,
    lease_for: Duration,
) -> Result<Acquired, StoreError> {
    let fingerprint = fingerprint();
    store.acquire(AcquireRequest::new(key, &fingerprint, LeaseId::random(), lease_for)).await
}

pub(crate) async fn granted(store: &PostgresStore, key: &StorageKey, lease_for: Duration) -> Lease {
    match acquire(store, key, lease_for).await {
        Ok(Acquired::Granted(lease)) => lease,
        other => panic!("not granted: {other:?}"),
    }
}

/// A lease that ran out, and is still its owner's.
pub(crate) async fn lapsed(store: &PostgresStore, key: &StorageKey) -> Lease {
    let lease = granted(store, key, Duration::from_micros(1)).await;
    while !matches!(store.inspect(key).await.unwrap(), KeyState::Abandoned { .. }) {}
    lease
}
