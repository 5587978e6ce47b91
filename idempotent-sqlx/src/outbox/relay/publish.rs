//! Publishes the messages of one slot: partitions beside each other, each in its order.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::settings::{OnDead, Settings};
use crate::outbox::{
    OutboxMessage, PublishError,
    publisher::ErasedPublisher,
    work::{Batch, Failure, Next, Settlement, SlotLease},
};

/// What the publications of one relay share.
pub(super) struct Press {
    pub(super) publisher: Arc<dyn ErasedPublisher>,
    pub(super) settings: Settings,
    /// One permit for each message that waits for the broker.
    pub(super) room: Semaphore,
    /// How many messages the broker has taken.
    pub(super) taken: AtomicU64,
    /// Nothing new is begun.
    pub(super) stopping: AtomicBool,
}

/// What became of a slot.
pub(super) struct Done {
    pub(super) settlement: Settlement,
    /// How many messages the batch had.
    pub(super) size: usize,
    /// What the broker said when it took nothing.
    pub(super) unavailable: Option<PublishError>,
}

impl Press {
    /// Publishes until all is done or the lease is about to end.
    pub(super) async fn slot(self: Arc<Self>, batch: Batch, claimed: Instant) -> Done {
        let (lease, size) = (batch.lease, batch.messages.len());
        // What begins before this instant has ended when the lease does.
        let stop = claimed + self.settings.lease.saturating_sub(self.settings.publish_timeout);
        let partitions: FuturesUnordered<_> = partitions(batch.messages)
            .into_iter()
            .map(|messages| self.partition(lease, messages, stop))
            .collect();
        let mut settlement = Settlement { released: vec![lease], ..Settlement::default() };
        if let Some(id) = batch.unreadable {
            let (next, error) = (self.dead(), "the message cannot be read".to_owned());
            settlement.failed.push(Failure { lease, id, next, error });
        }
        let done = Done { settlement, size, unavailable: None };
        partitions
            .fold(done, async |mut done, partition| {
                done.settlement.published.extend(partition.published);
                match partition.end {
                    End::Published => {}
                    End::Failed(failure) => done.settlement.failed.push(failure),
                    End::Unavailable(error) => done.unavailable = Some(error),
                }
                done
            })
            .await
    }

    /// One after another: the next only when the broker has the one before.
    async fn partition(
        &self,
        lease: SlotLease,
        messages: Vec<OutboxMessage>,
        stop: Instant,
    ) -> Partition {
        let mut published = Vec::with_capacity(messages.len());
        for message in messages {
            // The semaphore is never closed.
            let permit = self.room.acquire().await;
            if Instant::now() >= stop || self.stopping.load(Ordering::Relaxed) {
                break;
            }
            let outcome = self.message(&message).await;
            drop(permit);
            let end = match outcome {
                Ok(()) => {
                    published.push(message.id().to_owned());
                    continue;
                }
                Err(error @ PublishError::Unavailable(_)) => End::Unavailable(error),
                Err(error) => End::Failed(self.failure(lease, &message, &error)),
            };
            return Partition { published, end };
        }
        Partition { published, end: End::Published }
    }

    async fn message(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        let taken = self.taken.load(Ordering::Relaxed);
        let limit = self.settings.publish_timeout;
        // A publisher that panics must not take a whole slot with it, again and again.
        let publication = AssertUnwindSafe(async { self.publisher.publish(message).await });
        match timeout(limit, publication.catch_unwind()).await {
            Ok(Ok(Ok(()))) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(PublishError::transient("the publisher panicked")),
            Err(_) => {
                let error = format!("the broker did not acknowledge within {limit:?}");
                // Whose fault it is shows in whether others got through meanwhile.
                Err(match self.taken.load(Ordering::Relaxed) == taken {
                    true => PublishError::unavailable(error),
                    false => PublishError::transient(error),
                })
            }
        }
    }

    fn failure(&self, lease: SlotLease, message: &OutboxMessage, error: &PublishError) -> Failure {
        let attempts = message.attempt();
        let settings = &self.settings;
        let dead = matches!(error, PublishError::Permanent(_)) || attempts >= settings.max_attempts;
        let next = match dead {
            true => self.dead(),
            false => Next::Retry(pause(attempts, settings.first_pause, settings.longest_pause)),
        };
        Failure { lease, id: message.id().to_owned(), next, error: error.to_string() }
    }

    fn dead(&self) -> Next {
        Next::Dead { blocks: self.settings.on_dead == OnDead::Block }
    }
}

struct Partition {
    published: Vec<String>,
    end: End,
}

enum End {
    /// Or out of time: what is left stays pending.
    Published,
    Failed(Failure),
    Unavailable(PublishError),
}

/// Keeps the order inside of each partition, and begins with the partition that has waited longest.
fn partitions(messages: Vec<OutboxMessage>) -> Vec<Vec<OutboxMessage>> {
    let mut partitions: Vec<Vec<OutboxMessage>> = Vec::new();
    let mut places = std::collections::HashMap::<String, usize>::new();
    for message in messages {
        if let Some(place) = places.get(message.partition()) {
            partitions[*place].push(message);
        } else {
            places.insert(message.partition().to_owned(), partitions.len());
            partitions.push(vec![message]);
        }
    }
    partitions
}

/// `first` after the first failure, doubled by each, at most `longest`; shortened by up to a half at
/// random, so that what failed together does not come back together.
pub(super) fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest).mul_f64(1.0 - rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_shortened_by_half_at_most() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_mins(5));
        for (failures, whole) in
            [(0, 1), (1, 1), (2, 2), (4, 8), (9, 256), (10, 300), (u32::MAX, 300)]
        {
            let whole = Duration::from_secs(whole);
            let pauses: Vec<_> = (0..100).map(|_| pause(failures, first, longest)).collect();
            assert!(
                pauses.iter().all(|pause| *pause <= whole && *pause >= whole / 2),
                "{failures}"
            );
            assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
        }
        assert!(pause(32, Duration::MAX, Duration::MAX) > Duration::from_secs(1));
    }
}
