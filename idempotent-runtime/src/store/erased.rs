//! The dynamic form of [`Store`], so that neither handlers nor the engine are generic over it.

use std::{any::Any, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use super::{AcquireRequest, Acquired, KeyState, Store, StoreError};
use crate::{key::StorageKey, lease::Lease, record::Record};

/// One call of a store, begun or not.
pub(crate) type StoreCall<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`Store`] with boxed futures.
pub(crate) trait ErasedStore: Send + Sync + 'static {
    fn acquire<'a>(&'a self, request: AcquireRequest<'a>) -> StoreCall<'a, Acquired>;
    fn complete<'a>(&'a self, lease: &'a Lease, record: Record, ttl: Duration)
    -> StoreCall<'a, ()>;
    fn renew<'a>(&'a self, lease: &'a Lease, lease_for: Duration) -> StoreCall<'a, ()>;
    fn release<'a>(&'a self, lease: &'a Lease, retention: Duration) -> StoreCall<'a, ()>;
    fn free<'a>(&'a self, lease: &'a Lease, retention: Duration) -> StoreCall<'a, ()>;
    fn abandon<'a>(&'a self, lease: &'a Lease) -> StoreCall<'a, ()>;
    fn reserve_step<'a>(&'a self, lease: &'a Lease, lease_for: Duration) -> StoreCall<'a, ()>;
    fn save_step<'a>(&'a self, lease: &'a Lease, name: &'a str, value: Bytes) -> StoreCall<'a, ()>;
    fn inspect<'a>(&'a self, key: &'a StorageKey) -> StoreCall<'a, KeyState>;
    fn forget<'a>(&'a self, key: &'a StorageKey, force: bool) -> StoreCall<'a, bool>;
    fn purge_expired(&self, limit: usize) -> StoreCall<'_, usize>;
    fn recall(&self, key: &StorageKey) -> Option<Record>;
    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)>;
    fn kind(&self) -> &'static str;
}

impl<S: Store> ErasedStore for S {
    fn acquire<'a>(&'a self, request: AcquireRequest<'a>) -> StoreCall<'a, Acquired> {
        Box::pin(Store::acquire(self, request))
    }

    fn complete<'a>(
        &'a self,
        lease: &'a Lease,
        record: Record,
        ttl: Duration,
    ) -> StoreCall<'a, ()> {
        Box::pin(Store::complete(self, lease, record, ttl))
    }

    fn renew<'a>(&'a self, lease: &'a Lease, lease_for: Duration) -> StoreCall<'a, ()> {
        Box::pin(Store::renew(self, lease, lease_for))
    }

    fn release<'a>(&'a self, lease: &'a Lease, retention: Duration) -> StoreCall<'a, ()> {
        Box::pin(Store::release(self, lease, retention))
    }

    fn free<'a>(&'a self, lease: &'a Lease, retention: Duration) -> StoreCall<'a, ()> {
        Box::pin(Store::free(self, lease, retention))
    }

    fn abandon<'a>(&'a self, lease: &'a Lease) -> StoreCall<'a, ()> {
        Box::pin(Store::abandon(self, lease))
    }

    fn reserve_step<'a>(&'a self, lease: &'a Lease, lease_for: Duration) -> StoreCall<'a, ()> {
        Box::pin(Store::reserve_step(self, lease, lease_for))
    }

    fn save_step<'a>(&'a self, lease: &'a Lease, name: &'a str, value: Bytes) -> StoreCall<'a, ()> {
        Box::pin(Store::save_step(self, lease, name, value))
    }

    fn inspect<'a>(&'a self, key: &'a StorageKey) -> StoreCall<'a, KeyState> {
        Box::pin(Store::inspect(self, key))
    }

    fn forget<'a>(&'a self, key: &'a StorageKey, force: bool) -> StoreCall<'a, bool> {
        Box::pin(Store::forget(self, key, force))
    }

    fn purge_expired(&self, limit: usize) -> StoreCall<'_, usize> {
        Box::pin(Store::purge_expired(self, limit))
    }

    fn recall(&self, key: &StorageKey) -> Option<Record> {
        Store::recall(self, key)
    }

    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)> {
        Store::transactional(self)
    }

    fn kind(&self) -> &'static str {
        Store::kind(self)
    }
}
