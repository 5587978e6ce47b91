//! One attribute on an axum handler, and its effect happens once, however often the request is sent.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "macros"))] mod example {
//! use axum::{Extension, Router, routing::post};
//! use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
//!
//! #[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
//! async fn create_payment(body: String) -> String {
//!     format!("charged {body}")
//! }
//!
//! fn app() -> Router {
//!     Router::new()
//!         .route("/payments", post(create_payment))
//!         .layer(Extension(Idempotency::new(MemoryStore::new())))
//! }
//! # }
//! ```
//!
//! # What is promised, and what is not
//!
//! However often a request is sent (twice at once, after a lost answer, after the client gave up,
//! after the process was killed), its effect happens once and every sender gets the one answer,
//! **as far as a record outside of the effect can promise it**. Between an effect on a foreign API
//! and its record lies a gap that no library closes: a process that is killed in it has charged and
//! does not know. What this crate does about it:
//!
//! - the handler runs in a task of its own as soon as it waits: a client that hangs up cancels nothing;
//! - its lease is renewed while it runs, and only a lease that the *store* calls run out is run
//!   again; [`OnAbandoned::Halt`] turns that off;
//! - [`Attempt`] gives the handler what closes the gap: [`Attempt::downstream_key`], the same in every
//!   attempt, [`Attempt::fencing_token`], and [`Attempt::step`], so that what was done is not done again;
//! - where the effect is in PostgreSQL or SQLite there is no gap: `record_in` of `idempotent-sqlx` writes
//!   the answer in the handler's own transaction.
//!
//! Under the default [`OnAbandoned::Rerun`] a 5xx answer or a panic *means* "safe to repeat".
//!
//! # What to know before the first use
//!
//! - A last argument that only reads the body, such as `Json`, is not extracted for a replay out of
//!   the memory of this process: a `Deserialize` that checks more than form (an expiry, say) belongs
//!   in an extractor of its own. All other extractors run for every request.
//! - Extractors run before the claim. Do not extract connections, transactions or locks in a guarded
//!   handler, take them in its body: waiting duplicates would hold what the running one needs.
//! - Without `scope`, callers are told apart by the fields that say who asks (`Authorization`, `Cookie`,
//!   and those of common gateways: see [`IdempotencyBuilder::credentials`]), which are part of the
//!   fingerprint: a different caller who reuses a key gets `422`, and so does a retry with refreshed
//!   credentials. Set `scope` where there are users. **An identity that is in no such field** (in an
//!   `Extension`, a TLS session, a task-local) **tells nobody apart**: there `scope` is needed, and a
//!   request without any credential is warned of, once for each handler. `shared` in the attribute
//!   says that everybody shares the keys.
//! - `If-Match` and the other preconditions are part of the fingerprint: a retry under another condition
//!   is another request.
//! - The default fingerprint is over raw bytes: use `fingerprint = …` for multipart or generated
//!   bodies.
//! - Renaming a route forgets its keys unless `operation` is set.
//! - `400`, `403`, `404`, `409` and `422` of the handler are final and replayed; put [`DoNotRecord`]
//!   beside them where that is wrong, or [`NoEffect`] where the key may be used for a corrected request.
//!   `401`, `412` and others that ask for another request leave the key free: see [`NoEffect`].
//! - A handler loses sight of its caller's task-locals when it gets its task: where it first waits, in
//!   builds with debug assertions at once. One that needs them has `spawn = false`.
//! - Timeouts and concurrency limits outside no longer cancel a handler that has begun.
//! - The body is buffered before `runtime = …` is known: a runtime that comes from an argument can
//!   lower `max_request_bytes`, and raise it only when it stands in an `Extension` layer too.
//! - The `Host` header is not part of the fingerprint. A service with several host names for several
//!   tenants sets `scope`, or adds it with [`IdempotencyBuilder::credentials`].
//! - An answer is read to its end before it is given, up to `max_response_bytes` and for `capture_for`:
//!   one that takes longer passes from then on, and cannot be given again. Streams pass at once: by
//!   their content type, or with [`PassThrough`] beside them.
//!
//! # Functions
//!
//! Half of the duplicates come from brokers, jobs and timers. [`macro@idempotent_fn`] guards any async
//! function that returns a `Result`, with the same store and the same protocol:
//!
//! ```
//! # #[cfg(feature = "macros")] mod example {
//! use idempotent_runtime::{Error, Idempotency, idempotent_fn};
//!
//! struct Shipping {
//!     idempotency: Idempotency,
//! }
//!
//! struct OrderPaid {
//!     id: u64,
//! }
//!
//! impl Shipping {
//!     #[idempotent_fn(key = event.id, ttl = "7d", runtime = self.idempotency)]
//!     async fn on_paid(&self, event: OrderPaid) -> Result<String, Error> {
//!         Ok(format!("a parcel for order {}", event.id))
//!     }
//! }
//! # }
//! ```
//!
//! `Ok` is recorded and replayed, `Err` releases the key. A value that JSON would not give back, such
//! as `Some(())` or `NaN`, is an error the first time, here and in [`Attempt::step`]. [`batch`] handles many messages and says
//! which of them failed; [`ContentKey`] stands in for the id that a message does not have;
//! [`ValueAttempt`] is what the body can ask.
//!
//! # Defaults
//!
//! | setting | default | |
//! |---|---|---|
//! | `ttl` | 24 h | how long an answer is replayable, from completion |
//! | `lease` | 30 s | how long a crashed process blocks its keys |
//! | `wait` | 10 s | how long a duplicate waits for the answer of the first |
//! | `store_timeout` | 2 s | how long one call of the store may take |
//! | `max_run` | 10 min | how long a handler's lease is renewed |
//! | `capture_for` | 5 s | how long an answer's body is read before it passes unrecorded |
//! | `max_request_bytes` | 2 MiB | largest request body of a guarded handler |
//! | `max_response_bytes` | 1 MiB | largest response body that is recorded |
//! | `max_waiters`, `max_waiters_per_key` | 1,024 and 256 | waiting duplicates in one process |
//! | `max_running` | 1,024 | running guarded handlers in one process |
//! | budget of [`MemoryStore`] | 256 MiB | leases, remembered keys and records |
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `axum` | yes | handlers of axum: [`Guarded`], [`Outcome`], [`Attempt`] as an extractor |
//! | `macros` | yes | the attributes [`macro@idempotent`] and [`macro@idempotent_fn`] |
//! | `metrics` | no | `idempotency_requests_total{operation, outcome, store}` through the `metrics` facade |
//! | `uuid` | no | [`KeyPart`] for `uuid::Uuid` |
//!
//! The library reads no environment variables.
//!
//! # Stores
//!
//! [`MemoryStore`] is for one process; SQLite, PostgreSQL and Redis are in `idempotent-sqlx` and
//! `idempotent-redis`, and [`Cached`] keeps replays of any of them in this process. [`stores`] helps to
//! choose. Anything else implements [`Store`], and `idempotent-testkit` tests it.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod attempt;
#[cfg(feature = "axum")]
mod axum;
mod batch;
mod boxed;
mod content;
mod encoding;
mod engine;
mod error;
mod execution;
mod fingerprint;
mod flight;
mod function;
mod hash;
mod heartbeat;
#[cfg(feature = "axum")]
mod http;
mod idempotency;
mod key;
mod key_part;
mod lease;
mod observe;
mod operation;
mod outage;
#[cfg(feature = "axum")]
pub mod problems;
mod recent;
mod record;
mod recording;
mod refusal;
mod request_fields;
mod settings;
mod step;
mod store;
pub mod stores;
mod sync;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use idempotent_macros::{idempotent, idempotent_fn};

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::axum::{
    DoNotRecord, Guard, Guarded, GuardedRejection, NoEffect, Outcome, PassThrough, Recorded, Via,
};
pub use self::{
    attempt::Attempt,
    batch::{BatchFailure, BatchReport, batch},
    content::ContentKey,
    error::Error,
    fingerprint::Fingerprint,
    function::ValueAttempt,
    idempotency::{
        Idempotency, IdempotencyBuilder, Resolution, ResolveError, ResolvedAnswer, SettingsError,
    },
    key::{ShortKey, StorageKey},
    key_part::{KeyEncoder, KeyPart},
    lease::{FencingToken, Lease, LeaseId, SavedSteps, Steps},
    operation::OperationName,
    record::{Headers, Metadata, MetadataError, Record},
    recording::{RecordError, Recording},
    settings::{OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, defaults},
    step::{StepError, StepRefusal},
    store::{
        AcquireRequest, Acquired, BoxError, Cached, CachedBuilder, KeyState, MemoryStore,
        MemoryStoreBuilder, MemoryUsage, OnFull, Retention, Store, StoreError,
    },
};

#[cfg(all(doctest, feature = "axum", feature = "macros"))]
#[doc = include_str!("../../README.md")]
struct Readme;
