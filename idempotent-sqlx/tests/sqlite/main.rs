//! The store of SQLite.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod faults;
mod kit;
mod open;
mod purge;
