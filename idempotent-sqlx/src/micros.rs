//! Durations as the whole microseconds that both databases count in.

use std::time::Duration;

/// A thousand years. What is longer has no end, and this is before the end of `timestamptz`.
const MAX: i64 = 1000 * 365 * 24 * 60 * 60 * 1_000_000;

/// At most [`MAX`]; a part of a microsecond counts as none.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MAX).min(MAX)
}

/// Of what is left until a deadline; nothing is left after it.
pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_without_end_end_in_a_thousand_years() {
        assert_eq!(micros(Duration::MAX), MAX);
        assert_eq!(micros(Duration::from_nanos(1_999)), 1);
        assert_eq!(duration(-1), Duration::ZERO);
        assert_eq!(duration(micros(Duration::from_hours(24))), Duration::from_hours(24));
    }
}
