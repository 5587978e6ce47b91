//! Pauses between two tries.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Doubles up to a maximum; each pause is shortened by up to a half at random.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, max }
    }

    pub(super) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        // Seeds of hash maps are random enough for this, and need no crate.
        let random = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
        whole.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}
