//! What an operator reads of a store that fails: a line when it begins, at most one a minute while it
//! lasts, one when it ends, however many requests meet it.

use std::{
    array,
    error::Error as StdError,
    mem,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{key::StorageKey, operation::OperationName, sync::lock};

/// How long a line about a cause is the only one that says that it fails.
const QUIET: Duration = Duration::from_mins(1);

/// What fails. Each has lines of its own, which no other delays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// `acquire` gets no answer.
    Unreachable,
    /// `acquire` finds no room.
    Full,
    /// One of the two, and `on_store_error = bypass`.
    Unguarded,
    /// `complete`, `release`, `free` or `abandon` gets no answer.
    Unrecorded,
    /// Nobody says whether the transaction of a handler was committed.
    Uncommitted,
    /// `renew` gets no answer.
    Renewals,
    /// A step finds no room or no lease, or its result is not saved, for want of an answer.
    Steps,
    /// A record is not readable. Of one key, so that no other key's success ends it.
    Unreadable,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Full,
        Self::Unguarded,
        Self::Unrecorded,
        Self::Uncommitted,
        Self::Renewals,
        Self::Steps,
        Self::Unreadable,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether it takes something from callers at once. What is tried again does not.
    const fn is_error(self) -> bool {
        matches!(self, Self::Unreachable | Self::Full | Self::Unguarded | Self::Unreadable)
    }

    const fn fails(self) -> &'static str {
        match self {
            Self::Unreachable => "the store cannot be asked: requests are refused with 503",
            Self::Full => {
                "the store has no room: requests with a new key are refused with 503. Give it more \
                 room, or choose a shorter ttl"
            }
            Self::Unguarded => {
                "the store cannot be asked or has no room, and on_store_error = bypass: handlers run \
                 UNGUARDED"
            }
            Self::Unrecorded => {
                "the store does not confirm the outcomes of handlers: each is sent again until it does"
            }
            Self::Uncommitted => {
                "the store does not say whether transactions of handlers were committed: it is asked \
                 again"
            }
            Self::Renewals => {
                "leases are not renewed: each is tried again. Where one runs out, another process may \
                 run its operation"
            }
            Self::Steps => "the store does not confirm the steps of handlers: their attempts fail",
            Self::Unreadable => {
                "a record is not readable: requests with its key are refused, and nothing is run"
            }
        }
    }

    const fn ended(self) -> &'static str {
        match self {
            Self::Unreachable => "the store answers again",
            Self::Full => "the store has room for new keys again",
            Self::Unguarded => "handlers run guarded again",
            Self::Unrecorded => "the store confirms outcomes again",
            Self::Uncommitted => "the store says again what was committed",
            Self::Renewals => "leases are renewed again",
            Self::Steps => "the store confirms steps again",
            Self::Unreadable => "records are readable again",
        }
    }
}

/// Which causes a success ends: a set of them, made at compile time.
#[derive(Clone, Copy)]
pub(crate) struct Ends(u8);

impl Ends {
    /// `acquire` granted a lease.
    pub(crate) const GRANTED: Self = Self::of(&[Cause::Unreachable, Cause::Full, Cause::Unguarded]);
    /// `acquire` was answered, whatever it was.
    pub(crate) const ANSWERED: Self = Self::one(Cause::Unreachable);
    /// `renew` was answered.
    pub(crate) const RENEWED: Self = Self::one(Cause::Renewals);
    /// A step was saved; that room was found for it does not say so.
    pub(crate) const SAVED: Self = Self::one(Cause::Steps);

    pub(crate) const fn one(cause: Cause) -> Self {
        Self(cause.bit())
    }

    const fn of(mut causes: &[Cause]) -> Self {
        let mut bits = 0;
        while let [cause, rest @ ..] = causes {
            bits |= cause.bit();
            causes = rest;
        }
        Self(bits)
    }
}

/// The causes that fail in this runtime.
pub(crate) struct Outages {
    store: &'static str,
    /// The causes whose last call failed.
    failing: AtomicU8,
    told: [Mutex<Told>; Cause::ALL.len()],
}

/// What was told of a cause.
#[derive(Default)]
struct Told {
    /// When a line said last that it fails.
    last: Option<Instant>,
    /// How many failures came after that line.
    untold: u64,
    /// Whether its end is to be told.
    is_open: bool,
}

impl Outages {
    pub(crate) fn new(store: &'static str) -> Self {
        Self { store, failing: AtomicU8::new(0), told: array::from_fn(|_| Mutex::default()) }
    }

    /// A call failed.
    #[cold]
    pub(crate) fn failed(
        &self,
        cause: Cause,
        operation: &OperationName,
        key: &StorageKey,
        error: &(dyn StdError + 'static),
    ) {
        let (key, source) = (key.short(), error.source());
        tracing::debug!(?cause, %operation, %key, source, "{error}");
        let failures = {
            let mut told = lock(&self.told[cause as usize]);
            self.failing.fetch_or(cause.bit(), Ordering::Relaxed);
            told.untold += 1;
            let now = Instant::now();
            // One that ends and begins again within a minute is silent: a store that refuses every
            // other call would have two lines for each.
            if told.last.is_some_and(|last| now.duration_since(last) < QUIET) {
                return;
            }
            (told.last, told.is_open) = (Some(now), true);
            mem::take(&mut told.untold)
        };
        let (store, fails) = (self.store, cause.fails());
        if cause.is_error() {
            tracing::error!(%operation, store, failures, %key, source, "{fails}: {error}");
        } else {
            tracing::warn!(%operation, store, failures, %key, source, "{fails}: {error}");
        }
    }

    /// A call succeeded, which ends what it shows to be over.
    #[inline]
    pub(crate) fn recovered(&self, ends: Ends) {
        if self.failing.load(Ordering::Relaxed) & ends.0 != 0 {
            self.end(ends);
        }
    }

    #[cold]
    fn end(&self, ends: Ends) {
        for cause in Cause::ALL {
            if ends.0 & cause.bit() == 0 {
                continue;
            }
            let failures = {
                let mut told = lock(&self.told[cause as usize]);
                self.failing.fetch_and(!cause.bit(), Ordering::Relaxed);
                if !mem::take(&mut told.is_open) {
                    continue;
                }
                mem::take(&mut told.untold)
            };
            // A warning, so that who saw the beginning (an error, or a warning) sees the end.
            tracing::warn!(store = self.store, failures, "{}", cause.ended());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(outages: &Outages, cause: Cause) -> bool {
        let before = lock(&outages.told[cause as usize]).last;
        let error = crate::store::StoreError::Timeout;
        outages.failed(cause, &OperationName::default(), &StorageKey::from_bytes([0; 32]), &error);
        lock(&outages.told[cause as usize]).last != before
    }

    #[test]
    fn every_cause_has_a_place_and_a_bit_of_its_own() {
        for (at, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!((cause as usize, cause.bit()), (at, 1 << at));
        }
    }

    /// CASES 88: a store that refuses every other call.
    #[tokio::test(start_paused = true)]
    async fn what_ends_and_begins_again_is_told_once_a_minute() {
        let outages = Outages::new("test");
        let mut told = 0;
        for _ in 0..180 {
            told += usize::from(fail(&outages, Cause::Full));
            outages.recovered(Ends::GRANTED);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 3);
        assert_eq!(lock(&outages.told[Cause::Full as usize]).untold, 59);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_grant_does_not_end_a_full_store() {
        let outages = Outages::new("test");
        assert!(fail(&outages, Cause::Unreachable) && fail(&outages, Cause::Full));
        outages.recovered(Ends::ANSWERED);
        assert_eq!(outages.failing.load(Ordering::Relaxed), Cause::Full.bit());
        outages.recovered(Ends::GRANTED);
        assert_eq!(outages.failing.load(Ordering::Relaxed), 0);
    }
}
