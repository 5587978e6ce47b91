//! Row "execute": runs the handler and catches its panic.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

use super::{Call, Verdict};

/// What became of a handler.
pub(super) type Executed<A> = Result<Verdict<A>, Panic>;

pub(super) type Panic = Box<dyn Any + Send>;

/// Runs a handler to its end.
pub(super) async fn execute<A, W>(call: &Call, mut work: W) -> Executed<A>
where
    W: Future<Output = Verdict<A>> + Unpin,
{
    // The future is never polled again after it panicked.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut work).poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            tracing::error!(key = %call.key.short(), operation = %call.operation,
                "a guarded handler panicked");
            Poll::Ready(Err(panic))
        }
    })
    .await
}
