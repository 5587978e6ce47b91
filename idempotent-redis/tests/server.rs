//! What the store adds to the contract, on real servers that are killed, paused, filled and cut off.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "server/connections.rs"]
mod connections;
#[path = "server/full.rs"]
mod full;
#[path = "server/hash.rs"]
mod hash;
#[path = "server/kit.rs"]
mod kit;
#[path = "server/outages.rs"]
mod outages;
#[path = "server/policy.rs"]
mod policy;
#[path = "server/replicas.rs"]
mod replicas;
#[path = "server/round_trips.rs"]
mod round_trips;
#[path = "server/scripts.rs"]
mod scripts;
