//! The payments service from outside: the real binary, real HTTP/1.1 over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::doc_markdown)] // the names of databases are no code

mod client;
mod concurrency;
mod crash;
mod hang_up;
mod options;
mod outage;
mod place;
mod processes;
#[cfg(unix)]
mod readme;
mod replay;
mod routes;
mod server;
#[cfg(unix)]
mod shutdown;
mod simulate;
mod trickle;
