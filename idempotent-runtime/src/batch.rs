//! Batches: many messages at once, and which of them failed.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::{FutureExt as _, StreamExt as _, stream};

/// Handles many messages, at most `concurrency` at a time (at least one), and says what became of each.
///
/// What fails or panics stops nothing else. Each message comes with its id, which the report names it
/// by; `.enumerate()` makes one of its place. `handle` is typically a function under
/// `#[idempotent_fn]`: then a message that comes again, alone or with all the others of its batch, is
/// answered from its record.
///
/// Messages begin in their order, and with a `concurrency` of more than one they run beside each other:
/// use one for a FIFO queue. Everything runs in the caller's task; dropped, it leaves what runs where
/// it is.
///
/// ```
/// use idempotent_runtime::{Error, batch};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let messages = [("id-1", "7"), ("id-2", "seven"), ("id-3", "8")];
/// let report = batch(messages, 10, async |text: &str| text.parse::<u8>()).await;
///
/// // What Amazon SQS wants to hear of a batch, so that it sends only these again:
/// let failures: Vec<_> = report
///     .failed_ids()
///     .map(|id| serde_json::json!({ "itemIdentifier": id }))
///     .collect();
/// let response = serde_json::json!({ "batchItemFailures": failures });
/// assert_eq!(response.to_string(), r#"{"batchItemFailures":[{"itemIdentifier":"id-2"}]}"#);
/// assert_eq!(report.succeeded, [("id-1", 7), ("id-3", 8)]);
/// # }
/// ```
pub async fn batch<I, M, T, E, W>(
    messages: impl IntoIterator<Item = (I, M)>,
    concurrency: usize,
    mut handle: impl FnMut(M) -> W,
) -> BatchReport<I, T, E>
where
    W: Future<Output = Result<T, E>>,
{
    let handled = messages.into_iter().enumerate().map(|(at, (id, message))| {
        // A panic may come from making the future too.
        let work = catch_unwind(AssertUnwindSafe(|| handle(message)));
        async move {
            // Nobody looks at what a panic left behind: the future is dropped.
            let ended = match work {
                Ok(work) => AssertUnwindSafe(work).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let outcome = match ended {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(BatchFailure::Failed(error)),
                Err(panic) => Err(BatchFailure::Panicked(text(&*panic))),
            };
            (at, id, outcome)
        }
    });
    let mut all: Vec<_> =
        stream::iter(handled).buffer_unordered(concurrency.max(1)).collect().await;
    all.sort_unstable_by_key(|(at, ..)| *at);
    let mut report = BatchReport { succeeded: Vec::new(), failed: Vec::new() };
    for (_, id, outcome) in all {
        match outcome {
            Ok(value) => report.succeeded.push((id, value)),
            Err(failure) => report.failed.push((id, failure)),
        }
    }
    report
}

/// What became of the messages of a [`batch`], by their ids, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchReport<I, T, E> {
    /// The values of those that succeeded.
    pub succeeded: Vec<(I, T)>,
    /// Why the others did not.
    pub failed: Vec<(I, BatchFailure<E>)>,
}

impl<I, T, E> BatchReport<I, T, E> {
    /// Whether nothing failed.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// The ids of the messages to be delivered again.
    pub fn failed_ids(&self) -> impl Iterator<Item = &I> {
        self.failed.iter().map(|(id, _)| id)
    }
}

/// Why a message of a [`batch`] did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchFailure<E> {
    /// Handling it gave an error.
    #[error("the message failed")]
    Failed(#[source] E),
    /// Handling it panicked, with this text.
    #[error("handling the message panicked: {0}")]
    Panicked(Box<str>),
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> Box<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").into()
}

impl<E> BatchFailure<E> {
    /// The error, unless it was a panic.
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(_) => None,
        }
    }
}
