//! stub docs
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Handlers are the engine's only callers so far.
#![cfg_attr(not(feature = "axum"), allow(dead_code))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod attempt;
#[cfg(feature = "axum")]
mod axum;
mod engine;
mod fingerprint;
mod flight;
mod heartbeat;
#[cfg(feature = "axum")]
mod http;
mod idempotency;
mod key;
mod lease;
mod observe;
mod operation;
#[cfg(feature = "axum")]
pub mod problems;
mod record;
mod refusal;
mod settings;
mod store;
mod sync;

#[doc(hidden)]
#[cfg(feature = "axum")]
#[path = "private.rs"]
pub mod __private;

#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use idempotent_macros::idempotent;

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::axum::{DoNotRecord, Guard, Guarded, GuardedRejection, NoEffect, Outcome, Via};
pub use self::{
    attempt::Attempt,
    fingerprint::Fingerprint,
    idempotency::{
        Idempotency, IdempotencyBuilder, Resolution, ResolveError, ResolvedAnswer, SettingsError,
    },
    key::{KeyEncoder, KeyPart, ShortKey, StorageKey},
    lease::{FencingToken, Lease, LeaseId, Steps},
    record::{Headers, Metadata, MetadataError, Record},
    settings::{OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, defaults},
    store::{
        AcquireRequest, Acquired, BoxError, KeyState, MemoryStore, MemoryStoreBuilder, MemoryUsage,
        OnFull, Retention, Store, StoreError,
    },
};
