//! Time as the store sees it, and the tokens drawn from it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::lease::FencingToken;

/// Tokio's clock, so that tests under paused time are exact. It works outside a runtime too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(super) fn now(self) -> Moment {
        self.at(Instant::now())
    }

    pub(super) fn at(self, instant: Instant) -> Moment {
        Moment::ORIGIN.after(instant.saturating_duration_since(self.origin))
    }
}

/// Nanoseconds since the store was built. A deadline has passed at the very instant it names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) const ORIGIN: Self = Self(0);
    /// 584 years away: what durations too long to count end at, too.
    pub(super) const NEVER: Self = Self(u64::MAX);

    pub(super) fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    pub(super) fn has_come(self, now: Self) -> bool {
        now >= self
    }

    pub(super) fn until(self, later: Self) -> Duration {
        later.remaining(self)
    }

    pub(super) fn remaining(self, now: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }

    pub(super) fn as_nanos(self) -> u64 {
        self.0
    }
}

/// Draws fencing tokens. One mark for the whole store, because a forgotten or expired key takes its
/// own with it. They grow across a restart by the wall clock, which is read once: from then on the
/// store's own clock adds to it, and a wall clock that is set back takes no token back.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Microseconds since 1970 when the store was built.
    origin: u64,
    last: AtomicU64,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = u64::try_from(clock.as_micros()).unwrap_or(u64::MAX);
        Self { origin, last: AtomicU64::new(0) }
    }

    pub(super) fn next(&self, now: Moment) -> FencingToken {
        FencingToken::from_u64(self.next_at(self.origin.saturating_add(now.0 / 1000)))
    }

    fn next_at(&self, micros: u64) -> u64 {
        let token = |last: u64| micros.max(last + 1);
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(token(last)))
        {
            Ok(last) | Err(last) => token(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CASES 33: a clock that is set back never takes a token back.
    #[test]
    fn tokens_grow_while_the_wall_clock_jumps_back_or_stands_still() {
        let tokens = Tokens::new();
        let drawn = [100, 100, 7, 0, 500, 499].map(|micros| tokens.next_at(micros));
        assert_eq!(drawn, [100, 101, 102, 103, 500, 501]);
    }

    #[test]
    fn a_duration_too_long_to_count_ends_at_never() {
        let now = Moment::ORIGIN.after(Duration::from_secs(1));
        assert_eq!(now.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::NEVER.after(Duration::from_nanos(1)), Moment::NEVER);
    }
}
