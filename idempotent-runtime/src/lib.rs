//! stub docs
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod fingerprint;
mod key;
mod lease;
mod record;
mod store;

pub use self::{
    fingerprint::Fingerprint,
    key::{KeyEncoder, KeyPart, ShortKey, StorageKey},
    lease::{FencingToken, Lease, LeaseId, Steps},
    record::{Headers, Metadata, MetadataError, Record},
    store::{
        AcquireRequest, Acquired, BoxError, KeyState, MemoryStore, MemoryStoreBuilder, MemoryUsage,
        OnFull, Retention, Store, StoreError,
    },
};
