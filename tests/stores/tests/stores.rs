//! What a user is promised over Redis, PostgreSQL and SQLite: the whole engine, real servers, and
//! several processes (runtimes with connections of their own) on one of them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests only

#[macro_use]
#[path = "stores/backend.rs"]
mod backend;
#[path = "stores/child.rs"]
mod child;
#[path = "stores/ledger.rs"]
mod ledger;
#[path = "stores/support.rs"]
mod support;

#[path = "stores/faults.rs"]
mod faults;
#[path = "stores/lost.rs"]
mod lost;
#[path = "stores/protocol.rs"]
mod protocol;
#[path = "stores/recorded.rs"]
mod recorded;
#[path = "stores/recorded_postgres.rs"]
mod recorded_postgres;
#[path = "stores/recorded_sqlite.rs"]
mod recorded_sqlite;
#[path = "stores/round_trips.rs"]
mod round_trips;
#[path = "stores/steps.rs"]
mod steps;
#[path = "stores/waiting.rs"]
mod waiting;
