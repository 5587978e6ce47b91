//! What happens when the store fails, a process dies, or a lease is lost, over a real router.
//!
//! Time is paused: it moves only when a test moves it, or when everything waits for it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests only

#[path = "faults/support.rs"]
mod support;

#[path = "faults/abandoned.rs"]
mod abandoned;
#[path = "faults/acquire.rs"]
mod acquire;
#[path = "faults/blocked.rs"]
mod blocked;
#[path = "faults/bypass.rs"]
mod bypass;
#[path = "faults/cached.rs"]
mod cached;
#[path = "faults/complete.rs"]
mod complete;
#[path = "faults/drain.rs"]
mod drain;
#[path = "faults/halt.rs"]
mod halt;
#[path = "faults/heartbeat.rs"]
mod heartbeat;
#[path = "faults/keys.rs"]
mod keys;
#[path = "faults/logs.rs"]
mod logs;
#[path = "faults/lost.rs"]
mod lost;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/recorded.rs"]
mod recorded;
#[path = "faults/regain.rs"]
mod regain;
#[path = "faults/release.rs"]
mod release;
#[path = "faults/steps.rs"]
mod steps;
