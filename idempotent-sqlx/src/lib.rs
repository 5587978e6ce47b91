//! PostgreSQL and SQLite as the stores of `idempotent-runtime`, and records in the handler's own
//! transaction.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use idempotent_runtime::Idempotency;
//! use idempotent_sqlx::PostgresStore;
//!
//! # async fn example() -> Result<(), idempotent_runtime::StoreError> {
//! let store = PostgresStore::connect("postgres://localhost/payments").await?;
//! store.migrate().await?;
//! store.spawn_purger(Duration::from_secs(60)).detach();
//! // Layer it on the router, as `Extension`, like any other store's.
//! let idempotency = Idempotency::new(store);
//! # Ok(())
//! # }
//! ```
//!
//! A handler whose effect is in the same database records its answer in the transaction of the effect:
//! both are committed, or neither is. That closes the gap between an effect and its record, which no
//! lease can close. See [`RecordIn`].
//!
//! # Which of the two
//!
//! | | [`PostgresStore`] | [`SqliteStore`] |
//! |---|---|---|
//! | for | services of any number of processes and machines | one machine, nothing to install |
//! | clock | the server's | the machine's |
//! | round trips of a fresh operation, of a replay | 2, 1 | none |
//! | an open transaction of a handler | keeps its own key in flight | keeps every write waiting |
//!
//! # What happens when
//!
//! | | PostgreSQL | SQLite |
//! |---|---|---|
//! | a process is killed | its leases lapse, and the next attempt takes them over | the same; `kill -9` in the middle of a write loses nothing that was answered |
//! | the database restarts, a pooled connection is dead | the call goes on with a new one; a step that may have been applied knows its own | |
//! | the database hangs, or is away | calls end with *unavailable*: `503`, nothing runs | another's write lock: the same, after the busy timeout |
//! | failover to a replica | what a synchronous replica confirmed is there. With asynchronous replication the last commits are lost, a record with the effect it was committed with, a record of its own without: its operation may run again | |
//! | the machine loses its power | as the server's `fsync` and `synchronous_commit` say | nothing that was answered is lost (`synchronous = FULL`) |
//! | the clock jumps forward | leases lapse early: another attempt may begin while one still runs, which can then not record. Records expire early | the same |
//! | the clock jumps back | leases and records last longer. Tokens of a known key grow all the same; of a key that was forgotten or purged meanwhile the next token may be smaller | the same |
//! | the disk is full | new operations get `503 store_full`; running ones are recorded when there is room. Neither database promises room before a step runs: the result of a step may be refused after its effect | the same |
//!
//! # In the database
//!
//! Three tables: `leases`, one row for each key that is known; `records`, the outcome of those that have
//! ended, which refer to the lease that produced them; `steps`. In PostgreSQL they are in a schema,
//! `idempotent` by default, in SQLite their names begin with `idempotent_`. The view `keys`
//! (`idempotent_keys`) shows all of it to people. The client's idempotency key is not among it, only a
//! hash.
//!
//! | `state` in the view | what it says |
//! |---|---|
//! | `leased` | an attempt runs |
//! | `released` | the last attempt failed; a retry may run |
//! | `abandoned` | the last attempt's lease ran out: its outcome is unknown |
//! | `completed` | there is a record |
//! | `freed` | the last request had no effect: the key is as good as new, for any request. The row keeps its token and lease id until `remembered_until` |
//! | `expired` | as good as absent, until it is purged |
//!
//! `operation` is the operation's name and `ttl` (`ttl_seconds` in SQLite) for how long its record is
//! replayable, as the last lease was asked for. `resolve` records for that ttl.
//!
//! Per key with a 200-byte JSON answer PostgreSQL takes about 960 bytes, indexes included.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `postgres` | yes | [`PostgresStore`] |
//! | `sqlite` | yes | [`SqliteStore`], with SQLite built in |
//! | `axum` | yes | [`RecordIn::record_in`] for the answers of handlers |
//! | `rustls` | no | TLS to PostgreSQL, with the certificates of the operating system |
//!
//! The driver is re-exported as [`sqlx`]; its macros are not used.
#![forbid(unsafe_code)]
#![cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code, unused_imports))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod fields;
mod micros;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
mod purger;
mod record;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use sqlx;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use self::outbox::Outbox;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::{
    purger::Purger,
    record::{RecordIn, StepIn, Transactional, Work},
};
