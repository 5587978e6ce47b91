//! Waiting with a deadline.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server may take to start or to end. Machines that compile beside the tests are slow.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Polls `condition` until it answers something.
///
/// # Panics
///
/// After a minute, naming `what` was waited for.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited for {PATIENCE:?} in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}
