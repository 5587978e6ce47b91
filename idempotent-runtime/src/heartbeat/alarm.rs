//! The alarm: a thread that has leases renewed where the task of the heartbeat comes too late.
//!
//! A handler that blocks its thread holds up what only that thread would run next: the task that was
//! begun or woken there last, which no other thread takes over, and the timer of the runtime where no
//! other thread was awake to watch it. So a thread of its own looks after the time. What it spawns
//! comes from outside of the runtime, and wakes a worker that is free.

use std::{
    sync::{Arc, OnceLock, Weak},
    thread::{self, Thread},
    time::Duration,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::Instant,
};

use super::{Heartbeat, Inner, far};
use crate::sync::lock;

/// The thread, once there is one. It ends with its heartbeat.
#[derive(Default)]
pub(super) struct Alarm(OnceLock<Option<Thread>>);

impl Alarm {
    /// The task of `heartbeat` wakes sooner than it was to. A runtime of one thread has nobody else
    /// who could look.
    pub(super) fn set(&self, heartbeat: &Heartbeat) {
        let is_of_one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let thread = match is_of_one_thread {
            true => self.0.get(),
            false => Some(self.0.get_or_init(|| begin(Arc::downgrade(&heartbeat.0)))),
        };
        if let Some(Some(thread)) = thread {
            thread.unpark();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(Some(thread)) = self.0.get() {
            thread.unpark();
        }
    }
}

fn begin(watched: Weak<Inner>) -> Option<Thread> {
    let watch = move || {
        while let Some(inner) = watched.upgrade() {
            match Heartbeat(inner).look_after() {
                Some(quiet) => thread::park_timeout(quiet),
                None => thread::park(),
            }
        }
    };
    match thread::Builder::new().name("idempotent-alarm".to_owned()).spawn(watch) {
        Ok(thread) => Some(thread.thread().clone()),
        Err(error) => {
            tracing::warn!(
                %error,
                "no thread for the alarm: a handler that blocks its thread may lose its lease"
            );
            None
        }
    }
}

impl Heartbeat {
    /// Has the runtime look in the place of a task that is late. Answers when to ask again; `None`
    /// where the task does not run.
    fn look_after(self) -> Option<Duration> {
        let state = lock(&self.0.state);
        let (wakes, runtime) = (state.wakes, state.runtime.clone());
        drop(state);
        let (wakes, runtime) = wakes.zip(runtime)?;
        // Whoever is the last to drop a store may need a runtime for it.
        let _entered = runtime.enter();
        let heartbeat = self;
        let grace = (wakes.shortest / 20).max(Duration::from_millis(1));
        let left = far(wakes.at, grace).saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            return Some(left);
        }
        runtime.spawn(async move { heartbeat.look() });
        Some(2 * grace)
    }
}
