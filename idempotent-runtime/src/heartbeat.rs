//! The heartbeat: one task renews all leases that this process holds.
//!
//! A task of its own, so that a handler which computes without awaiting does not starve its lease.
//! It runs only while there are leases, and is started again where a runtime took it down. On a runtime
//! of several threads an [`alarm`] looks where the task cannot, so leases are renewed as long as one
//! worker is free. A runtime of one thread renews nothing while a handler blocks that thread: a lease
//! that runs out meanwhile is lost, and [`Attempt::lease_lost`](crate::Attempt::lease_lost) says so.

mod alarm;

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slab::Slab;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use self::alarm::Alarm;
use crate::{
    lease::Lease,
    operation::OperationName,
    outage::{Cause, Ends, Outages},
    store::{ErasedStore, StoreError},
    sync::lock,
};

/// What this process knows about one lease of its own.
#[derive(Debug)]
pub(crate) struct LeaseWatch {
    lease: Lease,
    operation: OperationName,
    /// Counted from before the last successful `acquire` or `renew` was sent, so that its end never
    /// lies behind the store's.
    term: Mutex<Term>,
    lost: AtomicBool,
    changed: Notify,
}

/// What a lease holds for.
#[derive(Clone, Copy, Debug)]
struct Term {
    since: Instant,
    lasts: Duration,
}

impl Term {
    fn end(self) -> Instant {
        far(self.since, self.lasts)
    }
}

impl LeaseWatch {
    fn new(lease: Lease, operation: OperationName, term: Term) -> Self {
        let (term, lost, changed) = (Mutex::new(term), AtomicBool::new(false), Notify::new());
        Self { lease, operation, term, lost, changed }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whose lease it is.
    pub(crate) fn operation(&self) -> &OperationName {
        &self.operation
    }

    /// Whether the store took the lease away, or may have by now. Once true, it stays true.
    pub(crate) fn is_lost(&self) -> bool {
        if !self.lost.load(Ordering::Acquire) && Instant::now() >= self.term().end() {
            self.mark_lost();
        }
        self.lost.load(Ordering::Acquire)
    }

    /// Resolves when [`is_lost`](Self::is_lost) becomes true.
    pub(crate) async fn lost(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_lost() {
                return;
            }
            let end = self.term().end();
            tokio::select! {
                () = changed => {}
                () = sleep_until(end) => {}
            }
        }
    }

    /// Never shortens: renewals that overlap may be answered out of order.
    pub(crate) fn extend(&self, since: Instant, lasts: Duration) {
        if !self.is_lost() {
            let mut current = lock(&self.term);
            let term = Term { since, lasts };
            if current.end() < term.end() {
                *current = term;
            }
        }
    }

    fn term(&self) -> Term {
        *lock(&self.term)
    }

    /// The store said that the lease is another's.
    pub(crate) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Renews leases until they [`end`](Self::end).
#[derive(Clone)]
pub(crate) struct Heartbeat(Arc<Inner>);

struct Inner {
    store: Arc<dyn ErasedStore>,
    store_timeout: Duration,
    /// How long after it began a lease is renewed at most, unless it
    /// [outlives](Heartbeat::outlive_max_run) that.
    max_run: Duration,
    outages: Arc<Outages>,
    state: Mutex<State>,
    /// Apart, so that the task holds no more than that while it sleeps.
    sooner: Arc<Notify>,
    alarm: Alarm,
}

struct State {
    beats: Slab<Beat>,
    /// When the task wakes next; `None` while it does not run.
    wakes: Option<Wakes>,
    /// Where the task runs.
    runtime: Option<Handle>,
}

/// When the task wakes: a third of `shortest` after `looked` at the latest, so that a lease which is
/// not shorter and began later is not due before.
#[derive(Clone, Copy)]
struct Wakes {
    at: Instant,
    looked: Instant,
    shortest: Duration,
}

struct Beat {
    lease_for: Duration,
    watch: Arc<LeaseWatch>,
    began: Instant,
    /// When it was renewed last, or began.
    last: Instant,
    /// To be renewed again already then.
    sooner: Option<Instant>,
    outlives_max_run: bool,
    /// Whether it was said that it is renewed no more.
    is_told: bool,
}

impl Beat {
    fn due(&self) -> Instant {
        let regular = far(self.last, self.lease_for / 3);
        self.sooner.map_or(regular, |sooner| sooner.min(regular))
    }

    /// Whether it is renewed no more.
    fn is_over(&self, now: Instant, max_run: Duration) -> bool {
        !self.outlives_max_run && now >= far(self.began, max_run)
    }
}

/// A lease that is being renewed until the heartbeat is told to [`end`](Heartbeat::end), which is
/// what the drop of its one owner does, the engine's `Held`.
#[must_use]
pub(crate) struct Beating {
    at: usize,
    watch: Arc<LeaseWatch>,
}

impl Heartbeat {
    pub(crate) fn new(
        store: Arc<dyn ErasedStore>,
        store_timeout: Duration,
        max_run: Duration,
        outages: Arc<Outages>,
    ) -> Self {
        let state = Mutex::new(State { beats: Slab::new(), wakes: None, runtime: None });
        let (sooner, alarm) = (Arc::default(), Alarm::default());
        Self(Arc::new(Inner { store, store_timeout, max_run, outages, state, sooner, alarm }))
    }

    /// Begins to renew a lease of `operation` whose `acquire` was sent at `since`.
    pub(crate) fn start(
        &self,
        lease: Lease,
        operation: &OperationName,
        lease_for: Duration,
        since: Instant,
    ) -> Beating {
        let term = Term { since, lasts: lease_for };
        let watch = Arc::new(LeaseWatch::new(lease, operation.clone(), term));
        let beat = Beat {
            lease_for,
            watch: Arc::clone(&watch),
            began: since,
            last: since,
            sooner: None,
            outlives_max_run: false,
            is_told: false,
        };
        let mut state = lock(&self.0.state);
        let at = state.beats.insert(beat);
        let in_time = |wakes: Wakes| wakes.looked <= since && wakes.shortest <= lease_for;
        if !state.wakes.is_some_and(in_time) {
            self.wake_by(state, far(since, lease_for / 3), lease_for);
        }
        Beating { at, watch }
    }

    /// Renews a lease no more.
    pub(crate) fn end(&self, beating: &Beating) {
        let mut state = lock(&self.0.state);
        if state.beat_of(&beating.watch, beating.at).is_some() {
            state.beats.remove(beating.at);
        }
    }

    /// The handler has ended: `max_run` no longer counts.
    pub(crate) fn outlive_max_run(&self, beating: &Beating) {
        let mut state = lock(&self.0.state);
        let Some(beat) = state.beat_of(&beating.watch, beating.at) else { return };
        let now = Instant::now();
        // A renewal that `max_run` passed over is made up for.
        let passed_over = beat.is_over(now, self.0.max_run);
        beat.outlives_max_run = true;
        if passed_over {
            beat.sooner = Some(now);
            let lease_for = beat.lease_for;
            self.wake_by(state, now, lease_for);
        }
    }

    /// Begins the task, or wakes it sooner, for a lease of `lease_for`. It is begun without the lock:
    /// a runtime that shuts down drops it at once, and its drop takes the lock.
    #[cold]
    fn wake_by(&self, mut state: MutexGuard<'_, State>, due: Instant, lease_for: Duration) {
        let wakes = state.wakes;
        let (at, shortest) = match wakes {
            Some(Wakes { at, shortest, .. }) => (at.min(due), shortest.min(lease_for)),
            None => (due, lease_for),
        };
        state.wakes = Some(Wakes { at, looked: Instant::now(), shortest });
        if wakes.is_none() {
            state.runtime = Handle::try_current().ok();
        }
        drop(state);
        match wakes {
            Some(Wakes { at, .. }) if at <= due => return,
            Some(_) => self.0.sooner.notify_one(),
            None => {
                let watched = Arc::downgrade(&self.0);
                drop(tokio::spawn(run(Running(Some(watched)), Arc::clone(&self.0.sooner), due)));
            }
        }
        self.0.alarm.set(self);
    }

    /// Starts the renewals that are due, and answers when the next one is.
    fn start_due(&self) -> Option<Instant> {
        self.start_due_in(lock(&self.0.state))
    }

    /// Starts the renewals that are due, in the place of the task. That ends by itself.
    fn look(&self) {
        let state = lock(&self.0.state);
        if state.wakes.is_some() && !state.beats.is_empty() {
            self.start_due_in(state);
        }
    }

    fn start_due_in(&self, mut state: MutexGuard<'_, State>) -> Option<Instant> {
        let (now, max_run) = (Instant::now(), self.0.max_run);
        let mut over = Vec::new();
        for (at, beat) in &mut state.beats {
            if beat.due() > now {
                continue;
            }
            (beat.last, beat.sooner) = (now, None);
            if !beat.is_over(now, max_run) {
                tokio::spawn(self.clone().renew(at, beat.lease_for, Arc::clone(&beat.watch)));
            } else if !mem::replace(&mut beat.is_told, true) {
                over.push(Arc::clone(&beat.watch));
            }
        }
        let beats = || state.beats.iter().map(|(_, beat)| beat);
        let next = beats().map(Beat::due).min().zip(beats().map(|beat| beat.lease_for).min());
        state.wakes = next.map(|(at, shortest)| Wakes { at, looked: now, shortest });
        if next.is_none() {
            state.runtime = None;
        }
        drop(state);
        for watch in over {
            tracing::warn!(
                operation = %watch.operation, key = %watch.lease.key.short(), ?max_run,
                "a handler has run for longer than max_run: its lease is renewed no more, and once \
                 that has run out the operation may run again"
            );
        }
        next.map(|(at, _)| at)
    }

    async fn renew(self, at: usize, lease_for: Duration, watch: Arc<LeaseWatch>) {
        let (sent, lease) = (Instant::now(), watch.lease());
        let renewed = timeout(self.0.store_timeout, self.0.store.renew(lease, lease_for)).await;
        let renewed = renewed.unwrap_or(Err(StoreError::Timeout));
        if matches!(renewed, Ok(()) | Err(StoreError::LeaseLost)) {
            self.0.outages.recovered(Ends::RENEWED);
        }
        match renewed {
            Ok(()) => watch.extend(sent, lease_for),
            Err(StoreError::LeaseLost) => {
                // A lease that was settled meanwhile is not lost.
                let mut state = lock(&self.0.state);
                if state.beat_of(&watch, at).is_some() {
                    state.beats.remove(at);
                    drop(state);
                    tracing::warn!(operation = %watch.operation, key = %lease.key.short(),
                        token = %lease.token, "lease lost");
                    watch.mark_lost();
                }
            }
            Err(error) => {
                self.0.outages.failed(Cause::Renewals, &watch.operation, &lease.key, &error);
                let soon = far(Instant::now(), lease_for / 10);
                let mut state = lock(&self.0.state);
                if let Some(beat) = state.beat_of(&watch, at) {
                    beat.sooner = Some(soon);
                    self.wake_by(state, soon, lease_for);
                }
            }
        }
    }
}

/// The task. Sleeps before it looks: most leases are settled long before a renewal is due, and it would
/// be started anew for each of them. While it sleeps it keeps no heartbeat, and so no store, alive.
async fn run(mut running: Running, sooner: Arc<Notify>, mut next: Instant) {
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = sooner.notified() => {}
        }
        let Some(due) = running.heartbeat().and_then(|heartbeat| heartbeat.start_due()) else {
            running.0 = None;
            return;
        };
        next = due;
    }
}

impl State {
    /// The beat of a lease, unless it has ended and left its place to another.
    fn beat_of(&mut self, watch: &Arc<LeaseWatch>, at: usize) -> Option<&mut Beat> {
        self.beats.get_mut(at).filter(|beat| Arc::ptr_eq(&beat.watch, watch))
    }
}

impl Beating {
    pub(crate) fn watch(&self) -> &Arc<LeaseWatch> {
        &self.watch
    }
}

/// `at + by`, or about a century later where that overflows.
pub(crate) fn far(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or_else(|| at + Duration::from_hours(24 * 36_500))
}

/// Says that the task does not run any more when its runtime drops it.
struct Running(Option<Weak<Inner>>);

impl Running {
    fn heartbeat(&self) -> Option<Heartbeat> {
        self.0.as_ref()?.upgrade().map(Heartbeat)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(heartbeat) = self.heartbeat() {
            let mut state = lock(&heartbeat.0.state);
            (state.wakes, state.runtime) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::StorageKey,
        lease::{FencingToken, LeaseId},
    };

    /// A renewal that fails late is tried again soon, and puts no other off.
    #[test]
    fn a_retry_is_due_before_the_next_renewal_and_never_after_it() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let token = FencingToken::from_u64(1);
        let lease = Lease::new(StorageKey::from_bytes([0; 32]), LeaseId::random(), token, 1);
        let term = Term { since: began, lasts: 6 * second };
        let beat = |sooner| Beat {
            lease_for: term.lasts,
            watch: Arc::new(LeaseWatch::new(lease.clone(), OperationName::default(), term)),
            began,
            last: began,
            sooner,
            outlives_max_run: false,
            is_told: false,
        };
        assert_eq!(beat(None).due(), began + 2 * second);
        assert_eq!(beat(Some(began + second)).due(), began + second);
        assert_eq!(beat(Some(began + 3 * second)).due(), began + 2 * second);
    }
}
