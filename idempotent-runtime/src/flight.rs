//! Single-flight: duplicates in one process wait for the running one and share its outcome.
//!
//! An optimisation, never the correctness: a flight that is gone, lost its lease or was never found
//! only means that the store is asked. Flights are told apart by storage key *and* fingerprint, so
//! that a request which reuses a key with other content never joins, and the store judges it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    fingerprint::Fingerprint, heartbeat::LeaseWatch, key::StorageKey, record::Record,
    refusal::Refusal, sync::lock,
};

const SHARDS: usize = 64;

type FlightKey = (StorageKey, Fingerprint);

/// All flights of one runtime.
pub(crate) struct Flights {
    shards: [Mutex<HashMap<FlightKey, Arc<Flight>>>; SHARDS],
    waiting: AtomicUsize,
    max_waiting: usize,
    max_waiting_per_key: usize,
}

/// One running operation and those who wait for it.
pub(crate) struct Flight {
    phase: Mutex<Phase>,
    changed: Notify,
    waiting: AtomicUsize,
    requester_gone: AtomicBool,
    lease: OnceLock<Arc<LeaseWatch>>,
}

#[derive(Clone)]
enum Phase {
    /// The store is being asked.
    Claiming,
    /// Another process holds the lease.
    Elsewhere,
    /// The handler runs here.
    Running,
    Landed(Landing),
}

/// How a flight ended, for those who waited.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// With a record that the store holds, or is being given.
    Record(Record),
    /// With an answer that is not recorded. `None` where it cannot be shared.
    Transient(Option<Record>),
    Refused(Refusal),
    /// Without an outcome that this process knows: ask the store.
    Vanished,
}

pub(crate) enum Joined {
    Leader(Leading),
    Waiter(Waiter),
    NoRoom,
}

impl Flights {
    pub(crate) fn new(max_waiting: usize, max_waiting_per_key: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            waiting: AtomicUsize::new(0),
            max_waiting,
            max_waiting_per_key,
        })
    }

    /// Joins the flight of an operation, or begins one.
    pub(crate) fn join(self: &Arc<Self>, key: FlightKey) -> Joined {
        match lock(self.shard(&key)).entry(key) {
            Entry::Occupied(entry) if entry.get().is_alive() => {
                let flight = Arc::clone(entry.get());
                if !admit(&self.waiting, self.max_waiting) {
                    return Joined::NoRoom;
                }
                if !admit(&flight.waiting, self.max_waiting_per_key) {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    return Joined::NoRoom;
                }
                Joined::Waiter(Waiter { flights: Arc::clone(self), flight })
            }
            entry => {
                let flight = Arc::new(Flight::new());
                entry.insert_entry(Arc::clone(&flight));
                Joined::Leader(Leading { flights: Arc::clone(self), flight, key })
            }
        }
    }

    fn shard(&self, (key, _): &FlightKey) -> &Mutex<HashMap<FlightKey, Arc<Flight>>> {
        &self.shards[usize::from(key.as_bytes()[0]) % SHARDS]
    }

    fn remove(&self, key: &FlightKey, flight: &Arc<Flight>) {
        if let Entry::Occupied(entry) = lock(self.shard(key)).entry(*key)
            && Arc::ptr_eq(entry.get(), flight)
        {
            entry.remove();
        }
    }
}

/// Counts one more unless `max` are counted.
fn admit(count: &AtomicUsize, max: usize) -> bool {
    let admitted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        (count < max).then(|| count + 1)
    });
    admitted.is_ok()
}

impl Flight {
    fn new() -> Self {
        Self {
            phase: Mutex::new(Phase::Claiming),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            requester_gone: AtomicBool::new(false),
            lease: OnceLock::new(),
        }
    }

    /// A flight whose lease is lost may be running elsewhere by now: nobody joins it any more.
    fn is_alive(&self) -> bool {
        !self.lease.get().is_some_and(|lease| lease.is_lost())
    }

    fn set(&self, phase: Phase) {
        *lock(&self.phase) = phase;
        self.changed.notify_waiters();
    }

    /// Marks that the request which began the flight is gone.
    pub(crate) fn desert(&self) {
        self.requester_gone.store(true, Ordering::Release);
    }
}

/// The side of a flight that runs it. Dropped without landing, the flight vanishes.
pub(crate) struct Leading {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    key: FlightKey,
}

impl Leading {
    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Whether the request that began the flight is still there.
    pub(crate) fn has_requester(&self) -> bool {
        !self.flight.requester_gone.load(Ordering::Acquire)
    }

    /// Whether anybody wants the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_requester() || self.flight.waiting.load(Ordering::Acquire) > 0
    }

    pub(crate) fn elsewhere(&self) {
        self.flight.set(Phase::Elsewhere);
    }

    /// The handler begins to run, under a lease or (bypassing a store that cannot be asked) without.
    pub(crate) fn running(&self, lease: Option<&Arc<LeaseWatch>>) {
        if let Some(lease) = lease {
            let _ = self.flight.lease.set(Arc::clone(lease));
        }
        self.flight.set(Phase::Running);
    }

    /// Tells the outcome to those who wait and to those who still come, while it is being recorded.
    pub(crate) fn publish(&self, landing: Landing) {
        self.flight.set(Phase::Landed(landing));
    }

    /// Ends the flight.
    pub(crate) fn land(self, landing: Landing) {
        self.publish(landing);
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.flights.remove(&self.key, &self.flight);
        let mut phase = lock(&self.flight.phase);
        if !matches!(*phase, Phase::Landed(_)) {
            *phase = Phase::Landed(Landing::Vanished);
            drop(phase);
            self.flight.changed.notify_waiters();
        }
    }
}

/// A duplicate that waits. It leaves when it is dropped.
pub(crate) struct Waiter {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Waiter {
    /// Waits for the outcome until `deadline`; `None` when patience ran out first.
    ///
    /// While the store is being asked the deadline does not count: that is bounded by itself, and a
    /// duplicate with `wait = "0s"` is told of a record rather than of a race.
    pub(crate) async fn outcome(&self, deadline: Instant) -> Option<Landing> {
        loop {
            let mut changed = std::pin::pin!(self.flight.changed.notified());
            changed.as_mut().enable();
            let phase = lock(&self.flight.phase).clone();
            match phase {
                Phase::Landed(landing) => return Some(landing),
                Phase::Claiming => changed.await,
                Phase::Elsewhere | Phase::Running => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(deadline) => return None,
                        () = self.lease_lost() => return Some(Landing::Vanished),
                    }
                }
            }
        }
    }

    async fn lease_lost(&self) {
        match self.flight.lease.get() {
            Some(lease) => lease.lost().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.waiting.fetch_sub(1, Ordering::Release);
        self.flights.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
