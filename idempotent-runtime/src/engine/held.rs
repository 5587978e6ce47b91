//! A lease that this process holds, and the place it takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::{Call, Engine, claim::Seen};
use crate::{
    attempt::Granted,
    execution::Execution,
    flight::{Landing, Leading},
    heartbeat::{Beating, LeaseWatch},
    lease::{Lease, LeaseId},
    observe,
    settings::Spec,
};

/// The right to run the handler once.
pub(super) struct Running {
    /// Given back first, so that those whom the flight sends back to the store find a place.
    pub(super) permit: Permit,
    pub(super) leading: Leading,
    /// `None` where `on_store_error = bypass` lets the handler run unguarded.
    pub(super) held: Option<Held>,
}

impl Running {
    pub(super) fn new(permit: Permit, leading: Leading, held: Option<Held>) -> Self {
        // Not when the handler begins: a caller in whose task it runs may be long in polling.
        leading.running(held.as_ref().map(Held::watch));
        Self { permit, leading, held }
    }

    /// The handler begins.
    pub(super) fn begin(&mut self, call: &Call) {
        let held = self.held.as_mut();
        if let Some(attempt) = &call.attempt {
            attempt.grant(match &held {
                Some(held) => Granted::new(Execution::new(&held.engine, call, held.watch())),
                None => Granted::unguarded(call.key),
            });
        }
        if let Some(held) = held {
            held.handler = Handler::Begun;
        }
    }

    /// Tells everybody.
    pub(super) fn land(self, landing: impl FnOnce() -> Landing) {
        let Self { permit, leading, held } = self;
        drop(permit);
        leading.land(landing);
        drop(held);
    }

    /// Whether another may hold the lease by now.
    pub(super) fn is_lost(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_lost)
    }

    /// The handler has ended. The lease that it ran under is to be settled.
    pub(super) fn end(&mut self) -> Option<&Lease> {
        let held = self.held.as_mut()?;
        held.handler = Handler::Ended;
        Some(held.lease())
    }
}

/// A lease, renewed while this exists.
pub(super) struct Held {
    engine: Arc<Engine>,
    spec: &'static Spec,
    beating: Beating,
    handler: Handler,
    /// Of an `acquire` to complete that got no answer. Boxed, as few have one and all are moved.
    regaining: Option<Box<LeaseId>>,
}

/// How far the handler came, which decides what dropping its lease means.
#[derive(PartialEq, Eq)]
enum Handler {
    /// No effect: the lease is released at once.
    Waiting,
    /// The outcome is unknown: the lease lapses, under `halt` at once.
    Begun,
    /// It is being settled; whatever is not settled in the end lapses.
    Ended,
}

impl Held {
    /// `since` is when the `acquire` that won the lease was first sent.
    pub(super) fn new(engine: &Arc<Engine>, lease: Lease, call: &Call, since: Instant) -> Self {
        let beating = engine.heartbeat.start(lease, &call.operation, call.policy.lease(), since);
        let (engine, spec) = (Arc::clone(engine), call.policy.spec);
        Self { engine, spec, beating, handler: Handler::Waiting, regaining: None }
    }

    /// Acquires the operation once more, only to complete it.
    pub(super) async fn regain(&mut self, call: &Call) -> Result<(), Seen> {
        let engine = Arc::clone(&self.engine);
        let regained = engine.acquire_to_complete(call, &mut self.regaining).await;
        regained.map(|(lease, since)| {
            *self = Self::new(&engine, lease, call, since);
            self.handler = Handler::Ended;
            self.outlive_max_run();
        })
    }

    /// Whether the lease that another seems to hold may be ours, its answer lost.
    pub(super) fn may_have_regained(&self) -> bool {
        self.regaining.is_some()
    }

    /// Whether another may hold the lease by now.
    pub(super) fn is_lost(&self) -> bool {
        self.watch().is_lost()
    }

    pub(super) fn lease(&self) -> &Lease {
        self.watch().lease()
    }

    pub(super) fn watch(&self) -> &Arc<LeaseWatch> {
        self.beating.watch()
    }

    /// The handler has ended: its lease is renewed until its outcome is settled.
    pub(super) fn outlive_max_run(&self) {
        self.engine.heartbeat.outlive_max_run(&self.beating);
    }

    /// What dropping it means where nobody settled it. Apart, as few leases come to it.
    #[cold]
    fn unsettled(&self) {
        let policy = self.engine.policy(self.spec);
        let given_up = match self.handler {
            Handler::Waiting => GivenUp::Released(policy.ttl()),
            Handler::Begun if policy.halts() => {
                let operation = self.watch().operation();
                observe::abandoned(operation, &self.lease().key, "its handler was dropped");
                GivenUp::Abandoned
            }
            Handler::Begun | Handler::Ended => return,
        };
        if let Ok(runtime) = Handle::try_current() {
            let (engine, lease) = (Arc::clone(&self.engine), self.lease().clone());
            let told = async move { engine.give_up(&lease, given_up).await };
            runtime.spawn(self.engine.tasks.track_future(told));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.heartbeat.end(&self.beating);
        if self.handler != Handler::Ended {
            self.unsettled();
        }
    }
}

/// What becomes of a lease that nobody settles.
pub(super) enum GivenUp {
    Released(Duration),
    Abandoned,
}

impl Engine {
    /// Best effort: what cannot be told to the store lapses.
    pub(super) async fn give_up(&self, lease: &Lease, given_up: GivenUp) {
        let told = match given_up {
            GivenUp::Released(retention) => self.store.release(lease, retention),
            GivenUp::Abandoned => self.store.abandon(lease),
        };
        if let Err(error) = self.bounded(told).await {
            tracing::debug!(key = %lease.key.short(), %error, "left to lapse");
        }
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
