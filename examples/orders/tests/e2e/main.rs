//! The service from outside: the real binary, real HTTP, real databases, a real NATS, real
//! SIGKILLs.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod client;
mod duplicates;
mod embedded;
mod faults;
mod locking;
mod options;
mod process;
mod readme;
mod reconcile;
mod shutdown;
mod storm;
mod world;
