//! Row "execute": runs the handler under its lease and catches its panic.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use super::{
    Answer, Call, Ended, Engine, Verdict,
    held::{Claimed, Running},
};
use crate::{attempt::Granted, flight::Landing, record::Record, refusal::Refusal};

impl Engine {
    pub(super) async fn execute<A, W>(
        self: &Arc<Self>,
        call: &Call,
        claimed: Claimed,
        work: W,
    ) -> Ended<A>
    where
        W: Future<Output = Verdict<A>>,
    {
        let Claimed { leading, held, permit } = claimed;
        let Some(mut held) = held else {
            leading.running(None);
            call.attempt.grant(Granted::unguarded(call.key));
            let ended = catch_panic(work).await;
            leading.land(unguarded_landing(&ended));
            return match ended {
                Ok(verdict) => Ended::Answer(Answer::Own(verdict.into_answer())),
                Err(panic) => Ended::Panicked(panic),
            };
        };
        leading.running(Some(held.watch()));
        call.attempt.grant(Granted::new(held.lease(), held.watch()));
        held.begin();
        let running = Running { leading, held, permit };
        match catch_panic(work).await {
            Ok(verdict) => Ended::Answer(self.settle(call, running, verdict).await),
            Err(panic) => {
                self.settle_panic(call, running).await;
                Ended::Panicked(panic)
            }
        }
    }
}

impl<A> Verdict<A> {
    fn into_answer(self) -> A {
        match self {
            Self::Final { answer, .. } | Self::Transient { answer, .. } => answer,
        }
    }
}

/// Those who joined an unguarded run share its answer, which nobody recorded.
fn unguarded_landing<A>(ended: &Result<Verdict<A>, Box<dyn Any + Send>>) -> Landing {
    let shared = |record: &Record| (!record.is_tombstone()).then(|| record.clone());
    match ended {
        Ok(Verdict::Final { record, .. }) => Landing::Transient(shared(record)),
        Ok(Verdict::Transient { shared, .. }) => Landing::Transient(shared.clone()),
        Err(_) => Refusal::HandlerPanicked.into(),
    }
}

async fn catch_panic<W: Future>(work: W) -> Result<W::Output, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    // The future is never polled again after it panicked.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
