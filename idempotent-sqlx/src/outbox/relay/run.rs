//! The loop of a relay: lease slots, publish them beside each other, make the outcome true.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::pool::PoolConnection;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, error::Elapsed, interval, sleep_until, timeout},
};

use super::{
    Relay,
    publish::{Done, Press, pause},
    report,
    settings::LONGEST,
};
use crate::outbox::{
    OutboxDatabase, OutboxError,
    work::{Batch, Settlement},
};

/// How many slots share a batch at the least: a slot alone gets no more than a part of it.
const SHARES: usize = 16;

/// How many messages one statement purges at the most, so that it is short.
const PURGE: usize = 1000;

/// Pauses of the relay as a whole, where the broker or the database is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) async fn run<DB: OutboxDatabase>(
    relay: &Relay<DB>,
    shutdown: impl Future<Output = ()> + Send,
) {
    tokio::select! {
        () = Run::new(relay).until(shutdown) => {}
        () = keep_house(relay) => {}
    }
}

struct Run<'a, DB: OutboxDatabase> {
    relay: &'a Relay<DB>,
    press: Arc<Press>,
    /// One for each slot whose lease this relay holds.
    slots: JoinSet<Done>,
    /// Messages that were claimed and are not settled.
    held: usize,
    /// Not yet made true.
    done: Settlement,
    /// How many of `held` are in `done`.
    done_size: usize,
    /// Whether the last claim found nothing: the next one looks before it writes.
    idle: bool,
    /// How often in a row the broker, or the database, was away.
    failures: u32,
    /// Nothing is claimed before.
    not_before: Instant,
}

impl<'a, DB: OutboxDatabase> Run<'a, DB> {
    fn new(relay: &'a Relay<DB>) -> Self {
        let press = Press {
            publisher: Arc::clone(&relay.publisher),
            settings: relay.settings.clone(),
            room: Semaphore::new(relay.settings.max_in_flight),
            taken: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        };
        Self {
            relay,
            press: Arc::new(press),
            slots: JoinSet::new(),
            held: 0,
            done: Settlement::default(),
            done_size: 0,
            idle: true,
            failures: 0,
            not_before: Instant::now(),
        }
    }

    async fn until(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut stopping = false;
        loop {
            let settled = self.settle().await;
            if stopping && self.slots.is_empty() {
                // One more try where the database was away; then another relay publishes it again.
                if !settled {
                    self.settle().await;
                }
                return;
            }
            if settled && !stopping && Instant::now() >= self.not_before && self.claim().await {
                continue;
            }
            let now = Instant::now();
            let wake = match self.not_before > now {
                true => self.not_before,
                false => now + pause(1, self.relay.settings.poll_interval, LONGEST),
            };
            tokio::select! {
                Some(done) = self.slots.join_next() => {
                    self.absorb(done.ok());
                    while let Some(done) = self.slots.try_join_next() {
                        self.absorb(done.ok());
                    }
                }
                () = &mut shutdown, if !stopping => {
                    stopping = true;
                    self.press.stopping.store(true, Ordering::Relaxed);
                }
                () = self.relay.outbox.wake.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Leases what is due and begins to publish it. `true` where there may be more.
    async fn claim(&mut self) -> bool {
        let settings = &self.relay.settings;
        let share = settings.batch.div_ceil(SHARES);
        let slots = settings.batch.saturating_sub(self.held) / share;
        if slots == 0 {
            return false;
        }
        // Counted from before the claim is sent: the database's lease ends later.
        let claimed = Instant::now();
        match claim(self.relay, self.idle, slots, share).await {
            Ok(batches) => {
                self.idle = batches.is_empty();
                let more = batches.len() == slots;
                for batch in batches {
                    self.begin(batch, claimed);
                }
                more
            }
            Err(error) => {
                self.database_failed(&error, "nothing was claimed");
                false
            }
        }
    }

    fn begin(&mut self, batch: Batch, claimed: Instant) {
        self.held += batch.messages.len();
        self.slots.spawn(Arc::clone(&self.press).slot(batch, claimed));
    }

    /// A slot whose task is gone without a word keeps its lease until it ends.
    fn absorb(&mut self, done: Option<Done>) {
        let Some(done) = done else { return };
        if !done.settlement.published.is_empty() {
            self.failures = 0;
        } else if let Some(error) = &done.unavailable {
            // What fails together counts once.
            if Instant::now() >= self.not_before {
                self.stand_back();
                let outbox = self.relay.outbox.name();
                tracing::warn!(outbox, "{error}; the relay pauses");
            }
        }
        for failure in &done.settlement.failed {
            let (outbox, id, next) = (self.relay.outbox.name(), &failure.id, failure.next);
            tracing::warn!(outbox, id, ?next, "a message was not published: {}", failure.error);
        }
        self.done.published.extend(done.settlement.published);
        self.done.failed.extend(done.settlement.failed);
        self.done.released.extend(done.settlement.released);
        self.done_size += done.size;
    }

    /// Makes true what is done. `false` where the database would not: it is tried again, for that the
    /// broker has a message stays true.
    async fn settle(&mut self) -> bool {
        if self.done.is_empty() {
            return true;
        }
        match settle(self.relay, &self.done).await {
            Ok(()) => {
                report::settled(self.relay.outbox.name(), &self.done);
                self.held -= std::mem::take(&mut self.done_size);
                self.done = Settlement::default();
                true
            }
            Err(error) => {
                self.database_failed(&error, "published messages are not marked yet");
                false
            }
        }
    }

    fn database_failed(&mut self, error: &OutboxError, what: &'static str) {
        if error.is_conflict() {
            self.not_before = Instant::now() + Duration::from_millis(5);
            return;
        }
        self.stand_back();
        let source = std::error::Error::source(error);
        tracing::warn!(outbox = self.relay.outbox.name(), source, "{error}; {what}");
    }

    fn stand_back(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause(self.failures, PAUSES.0, PAUSES.1);
    }
}

/// An idle relay looks before it writes.
async fn claim<DB: OutboxDatabase>(
    relay: &Relay<DB>,
    idle: bool,
    slots: usize,
    share: usize,
) -> Result<Vec<Batch>, OutboxError> {
    let (outbox, settings) = (&relay.outbox, &relay.settings);
    let mut connection = connect(relay).await?;
    let claim = async {
        if idle && !outbox.is_due(&mut connection).await? {
            return Ok(Vec::new());
        }
        outbox.claim(&mut connection, &relay.name, settings.lease, slots, share).await
    };
    let claimed = timeout(settings.database_timeout, claim).await;
    answer(relay, connection, claimed)
}

async fn settle<DB: OutboxDatabase>(
    relay: &Relay<DB>,
    done: &Settlement,
) -> Result<(), OutboxError> {
    let mut connection = connect(relay).await?;
    let settle = relay.outbox.settle(&mut connection, done);
    let settled = timeout(relay.settings.database_timeout, settle).await;
    answer(relay, connection, settled)
}

/// A connection, within bounded time.
async fn connect<DB: OutboxDatabase>(relay: &Relay<DB>) -> Result<PoolConnection<DB>, OutboxError> {
    let limit = relay.settings.database_timeout;
    let connection = timeout(limit, relay.outbox.pool.acquire()).await;
    Ok(connection.map_err(|_| OutboxError::TimedOut(limit))??)
}

/// What came of a question. A connection whose answer did not come in time is closed, not waited for;
/// so is one that failed, which may count a transaction that its database has ended by itself.
fn answer<DB: OutboxDatabase, T>(
    relay: &Relay<DB>,
    mut connection: PoolConnection<DB>,
    answer: Result<Result<T, OutboxError>, Elapsed>,
) -> Result<T, OutboxError> {
    let limit = relay.settings.database_timeout;
    let answer = answer.unwrap_or(Err(OutboxError::TimedOut(limit)));
    if answer.as_ref().is_err_and(|error| !error.is_conflict()) {
        drop(connection.detach());
    } else {
        // A pool asks a connection whether it lives before it takes it back, and waits without end.
        tokio::spawn(timeout(limit, connection.return_to_pool()));
    }
    answer
}

/// Purges, and reports the lag. Never ends.
async fn keep_house<DB: OutboxDatabase>(relay: &Relay<DB>) {
    let mut ticks = interval(relay.settings.report_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = purge(relay).await {
            tracing::warn!(outbox = relay.outbox.name(), "{error}; published messages are left");
        }
        #[cfg(feature = "metrics")]
        if let Ok(status) = timeout(relay.settings.database_timeout, relay.lag()).await
            && let Ok(status) = status
        {
            report::status(relay.outbox.name(), status);
        }
    }
}

async fn purge<DB: OutboxDatabase>(relay: &Relay<DB>) -> Result<(), OutboxError> {
    let settings = &relay.settings;
    loop {
        let mut connection = connect(relay).await?;
        let purge = relay.outbox.purge_on(&mut connection, settings.retention, PURGE);
        let purged = timeout(settings.database_timeout, purge).await;
        if answer(relay, connection, purged)? < PURGE as u64 {
            return Ok(());
        }
    }
}
