//! One execution under a lease, as its [`Attempt`](crate::Attempt) sees it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    engine::{Call, Engine},
    fingerprint::Fingerprint,
    heartbeat::LeaseWatch,
    lease::Lease,
    operation::OperationName,
    settings::Policy,
    store::StoreError,
    sync::lock,
};

/// What the engine hands to the handler when it begins.
pub(crate) struct Execution {
    pub(crate) engine: Arc<Engine>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) policy: Policy,
    watch: Arc<LeaseWatch>,
    /// The steps that this attempt has begun.
    steps: Mutex<BTreeSet<Box<str>>>,
    recorded: AtomicBool,
}

impl Execution {
    pub(crate) fn new(engine: &Arc<Engine>, call: &Call, watch: &Arc<LeaseWatch>) -> Self {
        Self {
            engine: Arc::clone(engine),
            fingerprint: call.fingerprint,
            policy: call.policy.clone(),
            watch: Arc::clone(watch),
            steps: Mutex::default(),
            recorded: AtomicBool::new(false),
        }
    }

    pub(crate) fn lease(&self) -> &Lease {
        self.watch.lease()
    }

    pub(crate) fn operation(&self) -> &OperationName {
        self.watch.operation()
    }

    pub(crate) async fn lost(&self) {
        self.watch.lost().await;
    }

    /// The store said that the lease is another's.
    pub(crate) fn lease_lost(&self) {
        self.watch.mark_lost();
    }

    /// What the store answered to a step says something of the lease too.
    pub(crate) fn told(&self, error: StoreError) -> StoreError {
        if let StoreError::LeaseLost = error {
            self.lease_lost();
        }
        error
    }

    /// One call of the store that extends the lease and makes room for the result of a step.
    pub(crate) async fn reserve_step(&self) -> Result<(), StoreError> {
        let sent = Instant::now();
        let store = self.engine.store();
        let lease_for = self.policy.lease();
        let reserved = self.engine.bounded(store.reserve_step(self.lease(), lease_for)).await;
        reserved.map_err(|error| self.told(error))?;
        self.watch.extend(sent, self.policy.lease());
        Ok(())
    }

    /// Notes that a step begins; `None` when it has begun before in this attempt.
    pub(crate) fn begin_step(&self, name: &str) -> Option<Begun<'_>> {
        let fresh = lock(&self.steps).insert(name.into());
        fresh.then(|| Begun { steps: &self.steps, name: name.into(), ended: false })
    }

    /// Whether a step was begun that did not fail.
    pub(crate) fn has_steps(&self) -> bool {
        !lock(&self.steps).is_empty()
    }

    /// The handler records in its own transaction: from now on only the store knows its outcome.
    pub(crate) fn record(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }
}

/// A step that has begun. One that fails or is dropped may begin again.
pub(crate) struct Begun<'a> {
    steps: &'a Mutex<BTreeSet<Box<str>>>,
    name: Box<str>,
    ended: bool,
}

impl Begun<'_> {
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.ended {
            lock(self.steps).remove(&self.name);
        }
    }
}
