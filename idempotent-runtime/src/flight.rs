//! Single-flight: duplicates in one process wait for the running one and share its outcome.
//!
//! An optimisation, never the correctness: a flight that is gone, lost its lease or was never found
//! only means that the store is asked. Flights are told apart by storage key *and* fingerprint, so
//! that a request which reuses a key with other content never joins, and the store judges it.

use std::{
    future::Future,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hashbrown::{
    HashTable,
    hash_table::{Entry, OccupiedEntry},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    fingerprint::Fingerprint,
    hash::Seeded,
    heartbeat::LeaseWatch,
    key::StorageKey,
    record::Record,
    refusal::Refused,
    sync::{lock, shards},
};

type Shard = Mutex<HashTable<Arc<Flight>>>;

/// All flights of one runtime.
pub(crate) struct Flights {
    shards: Box<[Shard]>,
    hasher: Seeded,
    waiting: AtomicUsize,
    max_waiting: usize,
    max_waiting_per_key: usize,
}

/// One running operation and those who wait for it.
pub(crate) struct Flight {
    key: StorageKey,
    fingerprint: Fingerprint,
    state: Mutex<State>,
    changed: Notify,
    waiting: AtomicUsize,
    requester_gone: AtomicBool,
    /// The handler has a final outcome, which is being recorded.
    ended: AtomicBool,
}

struct State {
    phase: Phase,
    /// While it is running, unless it runs without.
    lease: Option<Arc<LeaseWatch>>,
    /// When the lease of a process that seems to be gone runs out.
    lapses: Option<Instant>,
    /// How many listen to `changed`: most flights land before anybody does.
    listening: usize,
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
    Refused(Refused),
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
            shards: (0..shards()).map(|_| Mutex::default()).collect(),
            hasher: Seeded::random(),
            waiting: AtomicUsize::new(0),
            max_waiting,
            max_waiting_per_key,
        })
    }

    /// Joins the flight of an operation, or begins one.
    pub(crate) fn join(self: &Arc<Self>, key: &StorageKey, fingerprint: &Fingerprint) -> Joined {
        let same = |flight: &Arc<Flight>| flight.key == *key && flight.fingerprint == *fingerprint;
        match lock(self.shard(key)).entry(self.hash(key), same, |flight| self.hash(&flight.key)) {
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
                let flight = Arc::new(Flight::new(*key, *fingerprint));
                let superseded = match entry {
                    Entry::Occupied(mut entry) => {
                        Some(mem::replace(entry.get_mut(), Arc::clone(&flight)))
                    }
                    Entry::Vacant(entry) => {
                        entry.insert(Arc::clone(&flight));
                        None
                    }
                };
                let flights = Arc::clone(self);
                Joined::Leader(Leading { flights, flight, superseded, is_over: false })
            }
        }
    }

    fn shard(&self, key: &StorageKey) -> &Shard {
        // As many as a power of two.
        &self.shards[usize::from(key.as_bytes()[0]) & (self.shards.len() - 1)]
    }

    /// Eight bytes of what is a digest tell as much as a table asks for.
    fn hash(&self, key: &StorageKey) -> u64 {
        let [_, middle, ..] = key.as_bytes().as_chunks::<8>().0 else { return 0 };
        self.hasher.of_word(u64::from_le_bytes(*middle))
    }

    /// Takes a flight away that nobody waits for, and that superseded none. Who joins counts as one
    /// who waits under the lock of the shard, and so does who supersedes.
    fn remove_unseen(&self, flight: &Arc<Flight>) -> bool {
        let mut shard = lock(self.shard(&flight.key));
        if flight.waiting.load(Ordering::Acquire) > 0 {
            return false;
        }
        let found = shard.find_entry(self.hash(&flight.key), |other| Arc::ptr_eq(other, flight));
        found.map(OccupiedEntry::remove).is_ok()
    }

    /// Takes a flight away, and puts back the one that it superseded if that still runs.
    fn remove(&self, flight: &Arc<Flight>, superseded: Option<Arc<Flight>>) {
        let mut shard = lock(self.shard(&flight.key));
        let found = shard.find_entry(self.hash(&flight.key), |other| Arc::ptr_eq(other, flight));
        if let Ok(mut entry) = found {
            match superseded.filter(|older| !older.has_landed()) {
                Some(older) => *entry.get_mut() = older,
                None => drop(entry.remove()),
            }
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
    fn new(key: StorageKey, fingerprint: Fingerprint) -> Self {
        Self {
            key,
            fingerprint,
            state: Mutex::new(State {
                phase: Phase::Claiming,
                lease: None,
                lapses: None,
                listening: 0,
            }),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            requester_gone: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// A flight whose lease is lost may be running elsewhere by now: nobody joins it any more, unless
    /// its handler has ended and it is finding out what is true.
    fn is_alive(&self) -> bool {
        self.has_ended() || !self.lease().is_some_and(|lease| lease.is_lost())
    }

    fn lease(&self) -> Option<Arc<LeaseWatch>> {
        lock(&self.state).lease.clone()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn has_landed(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Landed(_))
    }

    /// Waits for the outcome until `deadline`; `None` when patience ran out first. What runs until
    /// `lost` vanishes.
    ///
    /// While the store is being asked the deadline does not count: that is bounded by itself, and a
    /// duplicate with `wait = "0s"` is told of a record rather than of a race.
    async fn outcome<F: Future<Output = ()>>(
        &self,
        deadline: Instant,
        lost: impl Fn() -> F,
    ) -> Option<Landing> {
        let _listening = Listening::to(self);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let phase = lock(&self.state).phase.clone();
            match phase {
                Phase::Landed(landing) => return Some(landing),
                Phase::Claiming => changed.await,
                Phase::Elsewhere | Phase::Running => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(deadline) => return None,
                        () = lost() => return Some(Landing::Vanished),
                    }
                }
            }
        }
    }

    fn set(&self, phase: Phase) {
        self.change(|state| state.phase = phase);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let listening = state.listening;
        drop(state);
        // Whoever begins to listen now reads the phase afterwards.
        if listening > 0 {
            self.changed.notify_waiters();
        }
    }

    /// What a request is told that gives up waiting for it.
    pub(crate) fn in_progress(&self) -> Refused {
        let lapses = lock(&self.state).lapses;
        let left = lapses.map(|at| at.saturating_duration_since(Instant::now()));
        Refused::in_progress(left)
    }

    /// Marks that the request which began the flight is gone.
    pub(crate) fn desert(&self) {
        self.requester_gone.store(true, Ordering::Release);
    }
}

/// Counts one who listens to a flight, until it is dropped.
struct Listening<'a>(&'a Flight);

impl<'a> Listening<'a> {
    fn to(flight: &'a Flight) -> Self {
        lock(&flight.state).listening += 1;
        Self(flight)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).listening -= 1;
    }
}

/// The side of a flight that runs it. Dropped without landing, the flight vanishes.
pub(crate) struct Leading {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// The flight that lost its lease, for which this one was begun.
    superseded: Option<Arc<Flight>>,
    /// Nobody saw it.
    is_over: bool,
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

    /// Notes when the lease of a process that seems to be gone runs out; `None` where it is alive.
    pub(crate) fn lapses(&self, at: Option<Instant>) {
        lock(&self.flight.state).lapses = at;
    }

    pub(crate) fn elsewhere(&self) {
        self.flight.set(Phase::Elsewhere);
    }

    /// The handler begins to run, under a lease or (bypassing a store that cannot be asked) without.
    pub(crate) fn running(&self, lease: Option<&Arc<LeaseWatch>>) {
        self.flight.change(|state| {
            state.phase = Phase::Running;
            state.lease = lease.cloned();
        });
    }

    /// The handler has a final outcome: whoever joins from now on waits for what becomes of it, even
    /// where the lease is lost.
    pub(crate) fn ended(&self) {
        self.flight.ended.store(true, Ordering::Release);
    }

    /// Whether an older run of the operation, which lost its lease, may still be going on here.
    pub(crate) fn supersedes(&self) -> bool {
        self.superseded.as_ref().is_some_and(|older| !older.has_landed())
    }

    /// How that older run ended; `None` when patience ran out first.
    pub(crate) async fn superseded_outcome(&self, deadline: Instant) -> Option<Landing> {
        match &self.superseded {
            Some(older) => older.outcome(deadline, std::future::pending).await,
            None => Some(Landing::Vanished),
        }
    }

    /// Tells the outcome to those who wait and to those who still come, while it is being recorded.
    pub(crate) fn publish(&self, landing: Landing) {
        self.flight.set(Phase::Landed(landing));
    }

    /// Ends the flight. Its outcome is told where somebody waits for it.
    pub(crate) fn land(mut self, landing: impl FnOnce() -> Landing) {
        self.is_over = self.superseded.is_none() && self.flights.remove_unseen(&self.flight);
        if self.is_over {
            return;
        }
        let landing = landing();
        // What vanishes is taken away before those who waited are sent back to the store.
        if !matches!(landing, Landing::Vanished) {
            self.publish(landing);
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Landed first, removed then: a younger flight puts back what has not landed.
        let vanished = !self.flight.has_landed();
        if vanished {
            lock(&self.flight.state).phase = Phase::Landed(Landing::Vanished);
        }
        self.flights.remove(&self.flight, self.superseded.take());
        if vanished {
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
    pub(crate) async fn outcome(&self, deadline: Instant) -> Option<Landing> {
        self.flight.outcome(deadline, || self.lease_lost()).await
    }

    /// What a request is told that gives up waiting.
    pub(crate) fn in_progress(&self) -> Refused {
        self.flight.in_progress()
    }

    async fn lease_lost(&self) {
        match self.flight.lease() {
            Some(lease) if !self.flight.has_ended() => lease.lost().await,
            _ => std::future::pending().await,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.waiting.fetch_sub(1, Ordering::Release);
        self.flights.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
