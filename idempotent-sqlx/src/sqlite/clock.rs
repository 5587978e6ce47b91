//! The clock of the machine, which all processes that share the database have in common.
//!
//! SQLite's own functions read the same clock, and round it to milliseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::micros::micros;

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The instant so long after `now`.
pub(super) fn after(now: i64, by: Duration) -> i64 {
    now.saturating_add(micros(by))
}
