//! stub
use super::*;
use bytes::Bytes;
use std::time::Duration;
/// stub
#[derive(Clone, Debug, Default)]
pub struct MemoryStore;
/// stub
#[derive(Debug)]
pub struct MemoryStoreBuilder;
/// stub
#[derive(Debug)]
pub struct MemoryUsage;
/// stub
#[derive(Debug)]
pub enum OnFull {}
impl Store for MemoryStore {
    async fn acquire(&self, _: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        Err(StoreError::Full)
    }
    async fn complete(&self, _: &Lease, _: Record, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    async fn renew(&self, _: &Lease, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    async fn release(&self, _: &Lease, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    async fn abandon(&self, _: &Lease) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    async fn save_step(&self, _: &Lease, _: &str, _: Bytes) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
    async fn inspect(&self, _: &StorageKey) -> Result<KeyState, StoreError> {
        Err(StoreError::Full)
    }
    async fn forget(&self, _: &StorageKey, _: bool) -> Result<bool, StoreError> {
        Err(StoreError::Full)
    }
    async fn purge_expired(&self, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
