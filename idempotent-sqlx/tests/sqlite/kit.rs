//! A database file for each test.

use std::{
    env, fs,
    path::PathBuf,
    process::id,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, Lease, LeaseId, Metadata, Record, StorageKey,
    Store as _, StoreError,
};
use idempotent_sqlx::{
    SqliteStore,
    sqlx::{
        SqlitePool,
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};

/// A file in a directory of its own, which goes with the last clone.
#[derive(Clone)]
pub(crate) struct File(Arc<Directory>);

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl File {
    /// With the tables.
    pub(crate) async fn new() -> Self {
        let file = Self::empty();
        file.store().await.migrate().await.unwrap();
        file
    }

    /// Before `migrate`.
    pub(crate) fn empty() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("idempotent-sqlite-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self(Arc::new(Directory(directory)))
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.0.0.join("store.db").display())
    }

    /// Another handle: connections of its own.
    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::connect(&self.url()).await.unwrap()
    }

    /// A pool as an application would have it.
    pub(crate) fn pool(&self, connections: u32) -> SqlitePool {
        let options: SqliteConnectOptions = self.url().parse().unwrap();
        SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options)
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

pub(crate) fn key(n: u64) -> StorageKey {
    StorageKey::derive(None, None, "op", &n)
}

pub(crate) async fn acquire(
    store: &SqliteStore,
    key: &StorageKey,
    lease_for: Duration,
) -> Result<Acquired, StoreError> {
    let fingerprint = fingerprint();
    store.acquire(AcquireRequest::new(key, &fingerprint, LeaseId::random(), lease_for)).await
}

pub(crate) async fn granted(store: &SqliteStore, key: &StorageKey, lease_for: Duration) -> Lease {
    match acquire(store, key, lease_for).await {
        Ok(Acquired::Granted(lease)) => lease,
        other => panic!("not granted: {other:?}"),
    }
}

/// A lease that ran out, and is still its owner's.
pub(crate) async fn lapsed(store: &SqliteStore, key: &StorageKey) -> Lease {
    let lease = granted(store, key, Duration::from_micros(1)).await;
    while !matches!(store.inspect(key).await.unwrap(), KeyState::Abandoned { .. }) {}
    lease
}
