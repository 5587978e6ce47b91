//! The guarded functions that the current task is inside of.

use std::{future::Future, sync::Arc};

use tokio::task_local;

use crate::{engine::Engine, key::StorageKey};

task_local! {
    static RUNNING: Arc<Running>;
}

/// A function that runs, and the one that called it.
pub(super) struct Running {
    /// Whose key it is, by its address: it lives as long as this.
    engine: usize,
    key: StorageKey,
    caller: Option<Arc<Self>>,
}

impl Running {
    /// `None` where the task is inside of this very execution.
    pub(super) fn of(engine: &Arc<Engine>, key: StorageKey) -> Option<Self> {
        let (engine, caller) = (Arc::as_ptr(engine).addr(), RUNNING.try_with(Arc::clone).ok());
        let mut around = caller.as_ref();
        while let Some(running) = around {
            if (running.engine, running.key) == (engine, key) {
                return None;
            }
            around = running.caller.as_ref();
        }
        Some(Self { engine, key, caller })
    }

    pub(super) fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        RUNNING.scope(Arc::new(self), work)
    }
}
