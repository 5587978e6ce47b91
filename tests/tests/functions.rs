//! `#[idempotent_fn]`: every outcome of a guarded function, content keys, and batches.
//!
//! Time is paused: it moves only when a test moves it, or when everything waits for it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests only

#[path = "functions/support.rs"]
mod support;

#[path = "functions/abandoned.rs"]
mod abandoned;
#[path = "functions/attempt.rs"]
mod attempt;
#[path = "functions/batches.rs"]
mod batches;
#[path = "functions/content.rs"]
mod content;
#[path = "functions/dropped.rs"]
mod dropped;
#[path = "functions/duplicates.rs"]
mod duplicates;
#[path = "functions/errors.rs"]
mod errors;
#[path = "functions/keys.rs"]
mod keys;
#[path = "functions/panics.rs"]
mod panics;
#[path = "functions/replay.rs"]
mod replay;
#[path = "functions/store.rs"]
mod store;
#[path = "functions/values.rs"]
mod values;
