//! A memory of this process in front of any store.

use std::{
    any::Any,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::time::Instant;

use super::{AcquireRequest, Acquired, KeyState, Store, StoreError};
use crate::{
    heartbeat::far,
    key::StorageKey,
    lease::Lease,
    record::{Metadata, Record},
};

/// Keeps completed records of another store in the memory of this process: a replay from it costs no
/// round trip.
///
/// Only completed records are kept, for at most `max_age` and never longer than they are replayable;
/// the fingerprint is compared here as it is in the store. What is kept may be evicted at any time:
/// then the store is asked. Leases are always the store's.
///
/// [`forget`](Store::forget) clears the record in this process at once; others may go on replaying it
/// for `max_age`.
///
/// ```
/// use std::time::Duration;
///
/// use idempotent_runtime::{Cached, Idempotency, MemoryStore};
///
/// # let store = MemoryStore::new();
/// // `store` is a store that is reached over a network.
/// let store = Cached::builder(store).max_age(Duration::from_secs(10)).build();
/// let idempotency = Idempotency::new(store);
/// ```
pub struct Cached<S> {
    store: S,
    records: Cache<StorageKey, Kept>,
    max_age: Duration,
    /// How often something was forgotten, so that what was read before is not kept after.
    forgotten: AtomicU64,
}

#[derive(Clone)]
struct Kept {
    record: Record,
    until: Instant,
}

/// Sets up a [`Cached`] store.
#[derive(Debug)]
pub struct CachedBuilder<S> {
    store: S,
    max_age: Duration,
    max_bytes: u64,
}

impl<S: Store> Cached<S> {
    /// For at most 60 s and 64 MiB.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// With other bounds.
    pub fn builder(store: S) -> CachedBuilder<S> {
        CachedBuilder { store, max_age: Duration::from_mins(1), max_bytes: 64 * 1024 * 1024 }
    }

    /// The store behind.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// What was read of a key and is replayable for `expires_in`, counted from before it was asked.
    fn keep(&self, asked: &Asked, key: &StorageKey, record: &Record, expires_in: Duration) {
        let until = far(asked.at, expires_in.min(self.max_age));
        self.records.insert(*key, Kept { record: record.clone(), until });
        if self.forgotten.load(Ordering::SeqCst) != asked.forgotten {
            self.records.invalidate(key);
        }
    }

    fn asked(&self) -> Asked {
        Asked { at: Instant::now(), forgotten: self.forgotten.load(Ordering::SeqCst) }
    }
}

/// Dropped when a key may have been forgotten.
struct Forgotten<'a, S>(&'a Cached<S>, &'a StorageKey);

impl<S> Drop for Forgotten<'_, S> {
    fn drop(&mut self) {
        self.0.forgotten.fetch_add(1, Ordering::SeqCst);
        self.0.records.invalidate(self.1);
    }
}

/// When the store was asked.
struct Asked {
    at: Instant,
    forgotten: u64,
}

impl<S: Store> CachedBuilder<S> {
    /// How long a record is kept at most, which is how long other processes may go on replaying what
    /// was forgotten. Default: 60 s.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// How much memory the records may take, in bytes. Default: 64 MiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The store.
    pub fn build(self) -> Cached<S> {
        let records = Cache::builder()
            .max_capacity(self.max_bytes)
            .weigher(|_, kept: &Kept| u32::try_from(cost(&kept.record)).unwrap_or(u32::MAX))
            .time_to_live(self.max_age.min(LONGEST))
            .build();
        let Self { store, max_age, .. } = self;
        Cached { store, records, max_age, forgotten: AtomicU64::new(0) }
    }
}

/// moka counts ages of up to a thousand years.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// What a kept record takes, roughly: its content, an allocation for each header, an entry of moka.
fn cost(record: &Record) -> usize {
    const ENTRY: usize = 400;
    const HEADER: usize = 96;
    let headers = match record.metadata() {
        Metadata::Response { headers, trailers, .. } => headers.len() + trailers.len(),
        Metadata::Value | Metadata::Tombstone { .. } => 0,
    };
    ENTRY + headers * HEADER + record.content_len()
}

impl<S: Store> Store for Cached<S> {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        let asked = self.asked();
        let acquired = self.store.acquire(request).await?;
        if let Acquired::Completed { record, expires_in } = &acquired {
            self.keep(&asked, request.key, record, *expires_in);
        }
        Ok(acquired)
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let asked = self.asked();
        self.store.complete(lease, record.clone(), ttl).await?;
        self.keep(&asked, &lease.key, &record, ttl);
        Ok(())
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        self.store.renew(lease, lease_for).await
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        self.store.release(lease, retention).await
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        self.store.free(lease, retention).await
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        self.store.abandon(lease).await
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        self.store.reserve_step(lease, lease_for).await
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        self.store.save_step(lease, name, value).await
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        let asked = self.asked();
        let state = self.store.inspect(key).await?;
        if let KeyState::Completed { record, expires_in } = &state {
            self.keep(&asked, key, record, *expires_in);
        }
        Ok(state)
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        // Also where the answer is lost, or not waited for: the store is asked again.
        let _forgotten = Forgotten(self, key);
        self.store.forget(key, force).await
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        self.store.purge_expired(limit).await
    }

    fn recall(&self, key: &StorageKey) -> Option<Record> {
        let kept = self.records.get(key)?;
        (Instant::now() < kept.until).then_some(kept.record)
    }

    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.store.transactional()
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }
}

impl<S: fmt::Debug> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &self.store)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}
