//! The payments service from outside: the real binary, real HTTP/1.1 over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod concurrency;
mod hang_up;
mod options;
#[cfg(unix)]
mod readme;
mod replay;
mod routes;
mod server;
#[cfg(unix)]
mod shutdown;
mod simulate;
