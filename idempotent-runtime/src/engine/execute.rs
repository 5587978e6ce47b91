//! Row "execute": runs the handler under its lease and catches its panic.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use super::{
    Call, Engine, Verdict,
    held::{Claimed, Running},
};
use crate::{attempt::Granted, flight::Leading};

/// A handler that ran to its end, and what it ran under.
pub(super) struct Executed<A> {
    pub(super) under: Under,
    pub(super) result: Result<Verdict<A>, Panic>,
}

pub(super) enum Under {
    Lease(Running),
    /// `on_store_error = bypass`.
    Nothing(Leading),
}

pub(super) type Panic = Box<dyn Any + Send>;

impl Engine {
    pub(super) async fn execute<A, W>(&self, call: &Call, claimed: Claimed, work: W) -> Executed<A>
    where
        W: Future<Output = Verdict<A>>,
    {
        let Claimed { leading, held, permit } = claimed;
        let under = match held {
            Some(mut held) => {
                leading.running(Some(held.watch()));
                call.attempt.grant(Granted::new(held.lease(), held.watch()));
                held.begin();
                Under::Lease(Running { leading, held, permit })
            }
            None => {
                leading.running(None);
                call.attempt.grant(Granted::unguarded(call.key));
                Under::Nothing(leading)
            }
        };
        Executed { result: catch_panic(work).await, under }
    }
}

async fn catch_panic<W: Future>(work: W) -> Result<W::Output, Panic> {
    let mut work = pin!(work);
    // The future is never polled again after it panicked.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
