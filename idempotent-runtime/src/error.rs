//! Why a guarded function was not executed, or its value not given.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::{
    refusal::{Refusal, Refused},
    store::{BoxError, StoreError},
};

/// Why a function under `#[idempotent_fn]` gave no value of its own.
///
/// The function's error has to be made from it: `impl From<idempotent_runtime::Error> for E`, or with
/// thiserror `#[error(transparent)] Idempotency(#[from] idempotent_runtime::Error)`.
///
/// [`retryable`](Self::retryable) says what a consumer does with its message: give it back to be
/// delivered again, or set it aside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The key is `None` or empty. Nothing was executed.
    KeyMissing {
        /// Which function.
        operation: &'static str,
    },
    /// The value of `key = hash(…)` or `fingerprint = hash(…)` has no form in JSON. Nothing was executed.
    KeyInvalid {
        /// Which function.
        operation: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The key belongs to a call with another `fingerprint`. Nothing was executed.
    KeyReused {
        /// Which function.
        operation: &'static str,
    },
    /// Another call with this key is still running and did not end within `wait`, or too many
    /// duplicates are waiting for it.
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// An earlier attempt was cut off and may have had its effect, and the function is set to
    /// `on_abandoned = halt`: somebody has to decide with
    /// [`Idempotency::resolve`](crate::Idempotency::resolve).
    OutcomeUnknown {
        /// Which function.
        operation: &'static str,
    },
    /// The function was executed and is not executed again, but its value could not be kept: it was
    /// too large, or could not be serialised.
    NotReplayable {
        /// Which function.
        operation: &'static str,
    },
    /// What is recorded under this key cannot be read: as the value of this function (its type has
    /// changed, or the record is not one of a function), or at all. Nothing was executed, because the
    /// function was executed before.
    Unreadable {
        /// Which function.
        operation: &'static str,
        /// Why.
        source: BoxError,
    },
    /// The function was executed, and its value cannot be serialised, or JSON would not give it back:
    /// the source says why. It is not executed again.
    Unrecordable {
        /// Which function.
        operation: &'static str,
        /// Why.
        source: BoxError,
    },
    /// The store gave no answer, so it is not known whether the function was executed.
    StoreUnavailable {
        /// What the store said, where this call was the one that asked.
        source: Option<Arc<StoreError>>,
    },
    /// The store has no room for another key. Nothing was executed.
    StoreFull,
    /// `max_running` guarded handlers and functions are running in this process. Nothing was executed.
    TooManyRunning,
    /// The process is shutting down. Nothing was executed.
    Draining,
    /// The call that this one waited for panicked.
    Panicked {
        /// Which function.
        operation: &'static str,
    },
    /// The function answered `Ok` after it had begun to record in its own transaction, which was not
    /// committed.
    NotCommitted {
        /// Which function.
        operation: &'static str,
    },
    /// The call was made by its own execution, directly or through others: it would wait for itself.
    /// Nothing was executed. A call from a task that the execution has spawned is not seen, and waits.
    CallsItself {
        /// Which function.
        operation: &'static str,
    },
    /// Two functions have one name, so their keys would meet: give them an `operation = "…"` each.
    /// Nothing was executed.
    OperationAmbiguous {
        /// Their name.
        operation: &'static str,
        /// Where this one stands.
        place: &'static str,
        /// Where the other one stands.
        other: &'static str,
    },
}

impl Error {
    pub(crate) fn of(refused: Refused, operation: &'static str) -> Self {
        let retry_after = refused.retry_after().unwrap_or_default();
        let Refused { refusal, source, .. } = refused;
        match refusal {
            Refusal::KeyReused => Self::KeyReused { operation },
            Refusal::InProgress => Self::InProgress { retry_after },
            Refusal::OutcomeUnknown => Self::OutcomeUnknown { operation },
            Refusal::NotReplayable => Self::NotReplayable { operation },
            Refusal::StoreUnavailable => Self::StoreUnavailable { source },
            Refusal::StoreFull => Self::StoreFull,
            Refusal::RecordUnreadable => {
                let source = match source {
                    Some(source) => source.into(),
                    None => "the record is not readable".into(),
                };
                Self::Unreadable { operation, source }
            }
            Refusal::TooManyRunning => Self::TooManyRunning,
            Refusal::Draining => Self::Draining,
            Refusal::HandlerPanicked => Self::Panicked { operation },
            Refusal::NotCommitted => Self::NotCommitted { operation },
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        Some(match self {
            Self::KeyReused { .. } => Refusal::KeyReused,
            Self::InProgress { .. } => Refusal::InProgress,
            Self::OutcomeUnknown { .. } => Refusal::OutcomeUnknown,
            Self::NotReplayable { .. } => Refusal::NotReplayable,
            Self::Unreadable { .. } => Refusal::RecordUnreadable,
            Self::StoreUnavailable { .. } => Refusal::StoreUnavailable,
            Self::StoreFull => Refusal::StoreFull,
            Self::TooManyRunning => Refusal::TooManyRunning,
            Self::Draining => Refusal::Draining,
            Self::Panicked { .. } => Refusal::HandlerPanicked,
            Self::NotCommitted { .. } => Refusal::NotCommitted,
            Self::KeyMissing { .. }
            | Self::KeyInvalid { .. }
            | Self::Unrecordable { .. }
            | Self::CallsItself { .. }
            | Self::OperationAmbiguous { .. } => return None,
        })
    }

    /// A name that does not change with the wording: for metrics, logs and dead letters. The same as
    /// the code of the problem answer where there is one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing { .. } => "key_missing",
            Self::KeyInvalid { .. } => "key_invalid",
            Self::Unrecordable { .. } => "value_unrecordable",
            Self::CallsItself { .. } => "calls_itself",
            Self::OperationAmbiguous { .. } => "operation_ambiguous",
            other => other.refusal().map_or("", Refusal::code),
        }
    }

    /// Whether the same call, with the same key, may be made again and meet something else.
    pub fn retryable(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_retryable)
    }

    /// When to call again, where that makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InProgress { retry_after } => Some(*retry_after),
            other => other.refusal().and_then(Refusal::retry_after),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing { operation } => {
                write!(f, "the key of `{operation}` is missing or empty; it was not executed")
            }
            Self::KeyInvalid { operation, .. } => write!(
                f,
                "the key or fingerprint of `{operation}` could not be made of its content; it was not \
                 executed"
            ),
            Self::KeyReused { operation } => write!(
                f,
                "the key belongs to another call of `{operation}`; draw a new key for a new operation"
            ),
            Self::InProgress { retry_after } => {
                write!(f, "a call with this key is still running; call again in {retry_after:?}")
            }
            Self::OutcomeUnknown { operation } => write!(
                f,
                "an earlier attempt of `{operation}` was cut off and may have had its effect; decide \
                 with `Idempotency::resolve`"
            ),
            Self::NotReplayable { operation } => write!(
                f,
                "`{operation}` was executed with this key, and its value cannot be given again"
            ),
            Self::Unreadable { operation, .. } => write!(
                f,
                "what is recorded of `{operation}` under this key is not readable as its value; it was \
                 not executed again"
            ),
            Self::Unrecordable { operation, .. } => write!(
                f,
                "`{operation}` was executed, and its value cannot be recorded; it is not executed again"
            ),
            Self::StoreUnavailable { .. } => f.write_str(
                "the store gave no answer, so it is not known whether this was executed; call again",
            ),
            Self::StoreFull => {
                f.write_str("the store has no room for another key; nothing was executed")
            }
            Self::TooManyRunning => f.write_str("too much is running here; nothing was executed"),
            Self::Draining => f.write_str("the process is shutting down; nothing was executed"),
            Self::Panicked { operation } => {
                write!(f, "the call of `{operation}` that this one waited for panicked")
            }
            Self::NotCommitted { operation } => write!(
                f,
                "`{operation}` answered `Ok` and its transaction was not committed; call again"
            ),
            Self::CallsItself { operation } => write!(
                f,
                "`{operation}` calls itself with its own key, so this call would wait for itself; call \
                 the work without the guard, or with another key"
            ),
            Self::OperationAmbiguous { operation, place, other } => write!(
                f,
                "two functions are called `{operation}` ({place} and {other}), so their keys would \
                 meet; give each an `operation = \"…\"`"
            ),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::KeyInvalid { source, .. } => Some(source),
            Self::Unreadable { source, .. } | Self::Unrecordable { source, .. } => Some(&**source),
            Self::StoreUnavailable { source: Some(source) } => Some(&**source),
            _ => None,
        }
    }
}
