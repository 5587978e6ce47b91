//! Where the parts of the protocol run, and for how long they are waited for.

use std::{
    future::{Future, poll_fn},
    mem,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinHandle},
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument as _;

use super::{Engine, far};
use crate::{
    refusal::Refusal,
    store::{StoreCall, StoreError},
};

/// A part of the protocol that a caller who is gone must not cancel.
pub(super) type Part<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Engine {
    /// Runs a part of the protocol that a caller who is gone must not cancel, and that has no code of
    /// the user's in it: in a task of its own as soon as it has to wait.
    pub(super) async fn outlive<T: Send + 'static>(&self, mut part: Part<T>) -> Result<T, Refusal> {
        match at_once(&mut part).await {
            Some(done) => Ok(done),
            None => joined(self.spawn(part).await),
        }
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task.in_current_span())
    }

    /// Bounds one call of the store. No answer in time means *unknown*, never *no*.
    pub(crate) async fn bounded<T>(&self, mut call: StoreCall<'_, T>) -> Result<T, StoreError> {
        if let Some(answer) = at_once(&mut call).await {
            return answer;
        }
        let bounded = Box::pin(timeout(self.settings.store_timeout, call));
        bounded.await.unwrap_or(Err(StoreError::Timeout))
    }

    /// Bounds one call of the store by a deadline too.
    pub(super) async fn bounded_until<T>(
        &self,
        until: Instant,
        mut call: StoreCall<'_, T>,
    ) -> Result<T, StoreError> {
        if let Some(answer) = at_once(&mut call).await {
            return answer;
        }
        let limit = until.min(far(Instant::now(), self.settings.store_timeout));
        Box::pin(timeout_at(limit, call)).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// Lets no new operation begin, and waits for the running ones and for what is still being
    /// recorded. Answers how many were left at the deadline.
    pub(crate) async fn drain(&self, within: Duration) -> usize {
        self.tasks.close();
        match timeout(within, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }

    /// Asked by what holds a token of `tasks`: closed and counted are one atomic, so that nothing
    /// begins which `drain` does not wait for.
    pub(super) fn is_draining(&self) -> bool {
        self.tasks.is_closed()
    }
}

/// The output of a future that does not have to wait.
async fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What a task ended with.
fn joined<T>(joined: Result<T, JoinError>) -> Result<T, Refusal> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The executor is shutting down.
        Err(_cancelled) => Refusal::Draining,
    })
}

/// Runs a part of the protocol where a client that hangs up cannot cancel it. It gets a task of its
/// own as soon as it has to wait: what never waits can never be cancelled, and needs none. With debug
/// assertions it gets one at once, so that a handler which relies on its caller's task-locals fails
/// where it is developed, not at the first lock that is not free.
///
/// A few pointers, where the future of an async function would be moved with all that it might come
/// to hold. Polled with the engine whose part it is.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
pub(super) struct Run<T>(Stage<T>);

#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
enum Stage<T> {
    New(Part<T>),
    Task(JoinHandle<T>),
    Over,
}

impl<T> Run<T> {
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(super) fn new(part: Part<T>) -> Self {
        Self(Stage::New(part))
    }
}

#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
impl<T: Send + 'static> Run<T> {
    pub(super) fn poll(
        &mut self,
        engine: &Engine,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Refusal>> {
        let mut task = match mem::replace(&mut self.0, Stage::Over) {
            Stage::New(mut part) => {
                // `drain` waits for it, whether it has a task or not.
                let _running = engine.tasks.token();
                if !cfg!(debug_assertions)
                    && let Poll::Ready(done) = part.as_mut().poll(cx)
                {
                    return Poll::Ready(Ok(done));
                }
                engine.spawn(part)
            }
            Stage::Task(task) => task,
            Stage::Over => panic!("polled after it was over"),
        };
        let polled = Pin::new(&mut task).poll(cx).map(joined);
        if polled.is_pending() {
            self.0 = Stage::Task(task);
        }
        polled
    }
}
