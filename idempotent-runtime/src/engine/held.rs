//! A lease that this process holds, and the place it takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::{Answer, Call, Engine, Refusal};
use crate::{
    flight::{Landing, Leading},
    heartbeat::{Beating, LeaseWatch},
    lease::Lease,
};

/// What a claim won: the right to run the handler once.
pub(super) struct Claimed {
    pub(super) leading: Leading,
    /// `None` where `on_store_error = bypass` lets the handler run unguarded.
    pub(super) held: Option<Held>,
    pub(super) permit: Permit,
}

/// A claim that won nothing.
pub(super) struct Unclaimed(pub(super) Landing);

impl Unclaimed {
    pub(super) fn answer<A>(self) -> Answer<A> {
        // A claim ends without a landing only when its own request is gone or out of patience.
        Answer::landed(self.0).unwrap_or(Answer::Refused(Refusal::InProgress))
    }
}

/// A handler that has begun under its lease.
pub(super) struct Running {
    pub(super) leading: Leading,
    pub(super) held: Held,
    pub(super) permit: Permit,
}

/// A lease, renewed while this exists. Dropped before its handler began, it is released at once;
/// dropped later, its outcome is unknown: it lapses and is abandoned.
pub(super) struct Held {
    engine: Arc<Engine>,
    lease: Lease,
    retention: Duration,
    beating: Beating,
    begun: bool,
}

impl Held {
    /// `since` is when the `acquire` that won the lease was first sent.
    pub(super) fn new(engine: &Arc<Engine>, lease: Lease, call: &Call, since: Instant) -> Self {
        let max_run = engine.settings.max_run;
        let beating = engine.heartbeat.start(lease.clone(), call.policy.lease, since, max_run);
        let (engine, retention) = (Arc::clone(engine), call.policy.ttl);
        Self { engine, lease, retention, beating, begun: false }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(super) fn watch(&self) -> &Arc<LeaseWatch> {
        self.beating.watch()
    }

    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// The handler has ended: its lease is renewed until its outcome is settled.
    pub(super) fn outlive_max_run(&self) {
        self.beating.outlive_max_run();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.begun, Handle::try_current()) {
            let release = self.engine.release_unused(self.lease.clone(), self.retention);
            runtime.spawn(release);
        }
    }
}

impl Engine {
    /// Best effort: a lease that is not released lapses.
    pub(super) fn release_unused(
        self: &Arc<Self>,
        lease: Lease,
        retention: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let engine = Arc::clone(self);
        self.tasks.track_future(async move {
            if let Err(error) = engine.bounded(engine.store.release(&lease, retention)).await {
                tracing::debug!(key = %lease.key.short(), %error, "unused lease not released");
            }
        })
    }
}

/// One of the `max_running` places.
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permit {
    pub(super) fn take(engine: &Engine) -> Option<Self> {
        let max = engine.settings.max_running;
        engine
            .running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then(|| now + 1))
            .is_ok()
            .then(|| Self(Arc::clone(&engine.running)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
