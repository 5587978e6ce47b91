//! The background purger.

use std::{error::Error as _, time::Duration};

use idempotent_runtime::Store;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

/// How many keys go between two looks at whether the purger was stopped.
const ROUND: usize = 10_000;

/// Removes expired keys in the background until it is dropped.
#[derive(Debug)]
#[must_use = "the purger stops when this is dropped"]
pub struct Purger(AbortOnDropHandle<()>);

impl Purger {
    /// Purges `store` now and then `every` so often. What a purge meets is logged, and the next one
    /// comes all the same.
    pub(crate) fn spawn<S: Store>(store: S, every: Duration) -> Self {
        Self(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = interval(every.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                purge(&store).await;
            }
        })))
    }

    /// Lets the purger go on for as long as the tokio runtime does.
    pub fn detach(self) {
        drop(self.0.detach());
    }
}

async fn purge<S: Store>(store: &S) {
    loop {
        match store.purge_expired(ROUND).await {
            Ok(ROUND) => {}
            Ok(_) => return,
            Err(error) => {
                let source = error.source();
                tracing::warn!(store = store.kind(), source, "{error}; expired keys are left");
                return;
            }
        }
    }
}
