//! Every option of a relay, and its default, once.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    super::{Outbox, OutboxDatabase, OutboxError, Publisher, publisher::ErasedPublisher},
    Relay,
};

/// What becomes of a partition whose message is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDead {
    /// It goes on without the message. One message that nobody can publish then stops nothing, and
    /// the order has a gap, which a [`retry`](Outbox::retry) fills late.
    #[default]
    Continue,
    /// It waits until somebody decides: [`retry`](Outbox::retry) or [`discard`](Outbox::discard). The
    /// order holds; the other partitions go on.
    Block,
}

/// Configures a [`Relay`].
///
/// | option | default |
/// |---|---|
/// | [`batch`](Self::batch) | 1,024 messages |
/// | [`max_in_flight`](Self::max_in_flight) | 256 |
/// | [`lease`](Self::lease) | 30 s |
/// | [`publish_timeout`](Self::publish_timeout) | 10 s |
/// | [`database_timeout`](Self::database_timeout) | 5 s |
/// | [`poll_interval`](Self::poll_interval) | 250 ms |
/// | [`max_attempts`](Self::max_attempts) | 12 |
/// | [`backoff`](Self::backoff) | 1 s, doubled up to 5 min |
/// | [`on_dead`](Self::on_dead) | `Continue` |
/// | [`retention`](Self::retention) | 24 h |
/// | [`report_interval`](Self::report_interval) | 15 s |
#[must_use]
pub struct RelayBuilder<DB: OutboxDatabase> {
    outbox: Outbox<DB>,
    publisher: Arc<dyn ErasedPublisher>,
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) batch: usize,
    pub(super) max_in_flight: usize,
    pub(super) lease: Duration,
    pub(super) publish_timeout: Duration,
    pub(super) database_timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) max_attempts: u32,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) on_dead: OnDead,
    pub(super) retention: Duration,
    pub(super) report_interval: Duration,
}

/// What stands for "never": longer durations could not be added to an instant.
pub(super) const LONGEST: Duration = Duration::from_hours(24 * 36_500);

impl Settings {
    fn bound(&mut self) {
        for duration in [
            &mut self.lease,
            &mut self.publish_timeout,
            &mut self.database_timeout,
            &mut self.poll_interval,
            &mut self.first_pause,
            &mut self.longest_pause,
            &mut self.retention,
            &mut self.report_interval,
        ] {
            *duration = LONGEST.min(*duration);
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 1024,
            max_in_flight: 256,
            lease: Duration::from_secs(30),
            publish_timeout: Duration::from_secs(10),
            database_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_millis(250),
            max_attempts: 12,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(5),
            on_dead: OnDead::default(),
            retention: Duration::from_hours(24),
            report_interval: Duration::from_secs(15),
        }
    }
}

impl<DB: OutboxDatabase> RelayBuilder<DB> {
    pub(in crate::outbox) fn new(outbox: &Outbox<DB>, publisher: impl Publisher) -> Self {
        let (outbox, publisher) = (outbox.clone(), Arc::new(publisher));
        Self { outbox, publisher, settings: Settings::default() }
    }

    pub(in crate::outbox) fn defaults(self) -> Relay<DB> {
        Relay::new(self.outbox, self.publisher, self.settings)
    }

    /// Sets how many messages the relay holds at a time, payloads included (at least 1).
    pub fn batch(mut self, messages: usize) -> Self {
        self.settings.batch = messages.max(1);
        self
    }

    /// Sets how many of them it waits for the broker with at a time, each of another partition (at
    /// least 1).
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.settings.max_in_flight = messages.max(1);
        self
    }

    /// Sets how long the slots of a relay that was killed stay with it. The relay itself stops
    /// publishing from a slot before that time is over, so it has to be at least twice the
    /// [`publish_timeout`](Self::publish_timeout).
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets how long the relay waits for the broker's acknowledgement.
    ///
    /// A publication that is not acknowledged in time counts as an attempt of its message where
    /// others were acknowledged meanwhile. Where none was, the broker is
    /// [unavailable](super::super::PublishError::Unavailable).
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.settings.publish_timeout = timeout;
        self
    }

    /// Sets how long the relay waits for the database, for a connection and for an answer each.
    pub fn database_timeout(mut self, timeout: Duration) -> Self {
        self.settings.database_timeout = timeout;
        self
    }

    /// Sets how long a message waits at the most until an idle relay looks, where nobody called
    /// [`wake`](Outbox::wake).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets how often a message is tried (at least once) before it is a dead letter. Attempts that
    /// found the broker unavailable do not count.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts.max(1);
        self
    }

    /// Sets the pause after a message's first failed attempt, which doubles with each up to
    /// `longest`. Each pause is shortened by up to a half at random. With the defaults a message is
    /// tried for 15 to 30 minutes.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.first_pause, self.settings.longest_pause) = (first, longest);
        self
    }

    /// Sets what becomes of a partition whose message is given up.
    pub fn on_dead(mut self, on_dead: OnDead) -> Self {
        self.settings.on_dead = on_dead;
        self
    }

    /// Sets how long published and discarded messages stay: for that long their ids are taken. Give
    /// it the `ttl` of the operations that enqueue, so that an operation that runs again by mistake
    /// enqueues nothing.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Sets how often the relay purges, and reports its lag to the `metrics` facade.
    pub fn report_interval(mut self, interval: Duration) -> Self {
        self.settings.report_interval = interval;
        self
    }

    /// Makes the relay.
    ///
    /// # Errors
    ///
    /// [`OutboxError::InvalidSettings`] for a duration of zero, and for a lease that is shorter than
    /// two publications may take.
    pub fn build(mut self) -> Result<Relay<DB>, OutboxError> {
        self.settings.bound();
        let settings = &self.settings;
        let durations = [
            settings.publish_timeout,
            settings.database_timeout,
            settings.poll_interval,
            settings.first_pause,
            settings.report_interval,
        ];
        if durations.contains(&Duration::ZERO) {
            return Err(OutboxError::InvalidSettings(
                "the durations of a relay have to be more than 0",
            ));
        }
        if settings.lease < settings.publish_timeout * 2 {
            return Err(OutboxError::InvalidSettings(
                "the lease of a relay has to be at least twice its publish timeout",
            ));
        }
        Ok(self.defaults())
    }
}

impl<DB: OutboxDatabase> fmt::Debug for RelayBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
