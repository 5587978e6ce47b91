//! The store of PostgreSQL.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod faults;
mod kit;
mod migrate;
mod open;
mod partitioned;
mod pooler;
mod purge;
mod trips;
mod used;
