//! Why a request is answered without an execution of its own.

use std::{sync::Arc, time::Duration};

use crate::store::StoreError;

/// A refusal and what the caller may do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The key belongs to another request.
    KeyReused,
    /// The operation runs elsewhere, and patience or room for waiters is used up.
    InProgress,
    /// A lease ran out without an outcome, and `on_abandoned = halt`.
    OutcomeUnknown,
    /// The operation ran, its answer cannot be given again.
    NotReplayable,
    /// The store could not be asked.
    StoreUnavailable,
    /// The store has no room for another key.
    StoreFull,
    /// What the store holds for the key is not readable.
    RecordUnreadable,
    /// `max_running` handlers are running.
    TooManyRunning,
    /// The process is shutting down.
    Draining,
    /// The handler panicked in another request.
    HandlerPanicked,
    /// The handler recorded in its own transaction, which was not committed.
    NotCommitted,
}

/// A refusal, and what the store said where it is the reason.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) source: Option<Arc<StoreError>>,
    /// When to ask again, where that is known better than [`Refusal::retry_after`].
    retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) fn by_store(refusal: Refusal, source: StoreError) -> Self {
        Self { refusal, source: Some(Arc::new(source)), retry_after: None }
    }

    /// `lapses_in` is what is left of the lease of a process that seems to be gone.
    pub(crate) fn in_progress(lapses_in: Option<Duration>) -> Self {
        Self { refusal: Refusal::InProgress, source: None, retry_after: lapses_in }
    }

    /// When to ask again, where that makes sense.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.or_else(|| self.refusal.retry_after())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, source: None, retry_after: None }
    }
}

impl Refusal {
    /// The code of the problem answer, which is the label of metrics too.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::KeyReused => "key_reused",
            Self::InProgress => "in_progress",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NotReplayable => "not_replayable",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreFull => "store_full",
            Self::RecordUnreadable => "record_unreadable",
            Self::TooManyRunning => "too_many_running",
            Self::Draining => "draining",
            Self::HandlerPanicked => "handler_panicked",
            Self::NotCommitted => "not_committed",
        }
    }

    /// Whether the same call, with the same key, may be made again and meet something else.
    pub(crate) fn is_retryable(self) -> bool {
        self.retry_after().is_some() || matches!(self, Self::HandlerPanicked | Self::NotCommitted)
    }

    /// When to ask again, where that makes sense.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::InProgress | Self::StoreUnavailable | Self::TooManyRunning | Self::Draining => {
                Some(Duration::from_secs(1))
            }
            Self::StoreFull => Some(Duration::from_secs(5)),
            Self::KeyReused
            | Self::OutcomeUnknown
            | Self::NotReplayable
            | Self::RecordUnreadable
            | Self::HandlerPanicked
            | Self::NotCommitted => None,
        }
    }
}
