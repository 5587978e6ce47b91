//! The protocol, row by row, through a real router and the real attribute. `ARCHITECTURE.md` has the
//! table; faults of the store are in `faults.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests only

#[path = "protocol/attempt.rs"]
mod attempt;
#[path = "protocol/bounds.rs"]
mod bounds;
#[path = "protocol/credentials.rs"]
mod credentials;
#[path = "protocol/detached.rs"]
mod detached;
#[path = "protocol/duplicates.rs"]
mod duplicates;
#[path = "protocol/expiry.rs"]
mod expiry;
#[path = "protocol/extractors.rs"]
mod extractors;
#[path = "protocol/freed.rs"]
mod freed;
#[path = "protocol/full.rs"]
mod full;
#[path = "protocol/inline.rs"]
mod inline;
#[path = "protocol/key_expressions.rs"]
mod key_expressions;
#[path = "protocol/key_reused.rs"]
mod key_reused;
#[path = "protocol/keys.rs"]
mod keys;
#[path = "protocol/kit.rs"]
mod kit;
#[path = "protocol/late.rs"]
mod late;
#[path = "protocol/outcomes.rs"]
mod outcomes;
#[path = "protocol/panics.rs"]
mod panics;
#[path = "protocol/problems.rs"]
mod problems;
#[path = "protocol/replay.rs"]
mod replay;
#[path = "protocol/request_bodies.rs"]
mod request_bodies;
#[path = "protocol/routing.rs"]
mod routing;
#[path = "protocol/slow.rs"]
mod slow;
#[path = "protocol/tombstones.rs"]
mod tombstones;
#[path = "protocol/trailers.rs"]
mod trailers;
#[path = "protocol/wire.rs"]
mod wire;
