//! Servers for tests: private ones, started from the binaries of this machine, and gone afterwards.
//!
//! ```no_run
//! use idempotent_servers::{PostgresServer, RedisServer};
//!
//! // One server for all tests of this process, or the one that `REDIS_URL` names:
//! let Some(url) = RedisServer::shared() else { return };
//! // A server of this test's own, to be killed:
//! let Some(mut server) = RedisServer::builder().durable().start() else { return };
//! server.kill();
//! server.restart();
//! // A fresh database on the shared server, or on the one that `DATABASE_URL` names:
//! let Some(databases) = PostgresServer::shared() else { return };
//! let database = databases.database();
//! println!("{url} {} {}", server.url(), database.url());
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `REDIS_URL`, `DATABASE_URL`, `NATS_URL` | what `shared()` uses instead of a private server |
//! | `IDEMPOTENT_REQUIRE_SERVICES=1` | a server that cannot be started is a failure instead of a skip |
//!
//! Where a binary is missing, that is said once on stderr and `None` is the answer. A server listens
//! on a free port of 127.0.0.1, keeps its files in a temporary directory, and is started by a
//! supervising `sh` that holds a pipe to the test: when the test process ends in whichever way, the
//! pipe closes, the server is ended and its directory removed.
//!
//! Everything blocks its thread, and every wait has a deadline whose panic says what was waited for.
//! Nothing here needs a runtime.
#![forbid(unsafe_code)]
// A test that cannot have its server must fail loudly, so this crate panics throughout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]
#![allow(clippy::doc_markdown)] // the names of the servers are no code

mod cluster;
mod nats;
mod postgres;
mod process;
mod program;
mod proxy;
mod redis;
mod resp;
mod wait;

pub use self::{
    cluster::RedisCluster,
    nats::NatsServer,
    postgres::{Database, Databases, PostgresBuilder, PostgresServer},
    proxy::{Answers, Proxy},
    redis::{RedisBuilder, RedisServer},
    resp::redis_command,
    wait::until,
};
