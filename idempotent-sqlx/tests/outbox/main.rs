//! The outbox on real databases, with real brokers.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::doc_markdown)] // the names of databases and brokers are no code

mod dead;
mod enqueue;
mod kit;
mod migrate;
mod nats;
mod order;
mod plans;
mod process;
mod purge;
#[cfg(feature = "metrics")]
mod reports;
mod restarts;
mod retry;
mod throughput;
