//! What a relay asks of the database.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, Error};

use super::{
    DeadLetter, Outbox, OutboxDatabase, OutboxError, OutboxMessage,
    database::{Step, Value},
    message::Stored,
};
use crate::micros::{duration, micros};

/// The first messages of a slot, and the right to publish them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lease: SlotLease,
    /// In their order.
    pub(super) messages: Vec<OutboxMessage>,
    /// The id of a message that cannot be read. `messages` ends before it.
    pub(super) unreadable: Option<String>,
}

/// The lease of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLease {
    slot: i64,
    fence: i64,
}

/// What became of publications, for one transaction.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// Ids.
    pub(super) published: Vec<String>,
    pub(super) failed: Vec<Failure>,
    pub(super) released: Vec<SlotLease>,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) lease: SlotLease,
    pub(super) id: String,
    pub(super) next: Next,
    pub(super) error: String,
}

/// What comes after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, after a pause.
    Retry(Duration),
    /// None; its partition goes on or stops here.
    Dead { blocks: bool },
}

impl Settlement {
    pub(super) fn is_empty(&self) -> bool {
        self.released.is_empty() && self.published.is_empty() && self.failed.is_empty()
    }
}

impl Failure {
    fn json(&self) -> serde_json::Value {
        let (dead, blocks, pause) = match self.next {
            Next::Retry(pause) => (false, false, micros(pause)),
            Next::Dead { blocks } => (true, blocks, 0),
        };
        // PostgreSQL has no text with NUL.
        let error: String = self.error.chars().filter(|char| *char != '\0').take(1000).collect();
        json!({
            "id": self.id, "slot": self.lease.slot, "fence": self.lease.fence,
            "dead": dead, "blocks": blocks, "pause": pause, "error": error,
        })
    }
}

impl<DB: OutboxDatabase> Outbox<DB> {
    /// Whether there is something to claim. Writes and locks nothing.
    pub(super) async fn is_due(
        &self,
        connection: &mut DB::Connection,
    ) -> Result<bool, OutboxError> {
        Ok(!self.ask(connection, Step::Due, &[]).await?.is_empty())
    }

    /// Leases up to `slots` slots that have something to publish, and reads up to `messages` of each.
    pub(super) async fn claim(
        &self,
        connection: &mut DB::Connection,
        relay: &str,
        lease: Duration,
        slots: usize,
        messages: usize,
    ) -> Result<Vec<Batch>, OutboxError> {
        let mut transaction = connection.begin_with(DB::BEGIN).await?;
        let values = [Value::Text(relay), Value::Int(micros(lease)), int(slots)];
        let claim = self.statements.sql(Step::Claim);
        let rows = DB::rows(&mut transaction, claim, &values).await?;
        let lease = |row| Ok(SlotLease { slot: DB::int(row, 0)?, fence: DB::int(row, 1)? });
        let leases = rows.iter().map(lease).collect::<Result<Vec<_>, Error>>()?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        // A statement of its own, which sees what the last holder of a slot marked before it gave the
        // slot back: the claim itself still sees the messages as they were when it began.
        let slots = json!(leases.iter().map(|lease| lease.slot).collect::<Vec<_>>()).to_string();
        let fetch = self.statements.sql(Step::Fetch);
        let values = [Value::Text(&slots), int(messages)];
        let rows = DB::rows(&mut transaction, fetch, &values).await?;
        transaction.commit().await?;
        let empty = |lease| Batch { lease, messages: Vec::new(), unreadable: None };
        let mut batches: Vec<_> = leases.into_iter().map(empty).collect();
        for row in &rows {
            let slot = DB::int(row, 0)?;
            let batch = batches.iter_mut().find(|batch| batch.lease.slot == slot);
            let Some(batch) = batch.filter(|batch| batch.unreadable.is_none()) else { continue };
            match read_message::<DB>(row) {
                Ok(message) => batch.messages.push(OutboxMessage::new(message)),
                Err(Error::Decode(_)) => batch.unreadable = Some(DB::text(row, 1)?),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(batches)
    }

    /// Marks what was published, counts what failed, gives slots back: all of it or nothing. Sent again
    /// after an answer that was lost it counts nothing twice: giving a slot back ends its fence.
    pub(super) async fn settle(
        &self,
        connection: &mut DB::Connection,
        done: &Settlement,
    ) -> Result<(), OutboxError> {
        let mut transaction = connection.begin_with(DB::BEGIN).await?;
        let failed: Vec<_> = done.failed.iter().map(Failure::json).collect();
        let lease = |lease: &SlotLease| json!({"slot": lease.slot, "fence": lease.fence});
        let released: Vec<_> = done.released.iter().map(lease).collect();
        let steps = [
            (Step::Published, json!(done.published), done.published.len()),
            (Step::Failed, json!(failed), failed.len()),
            (Step::Release, json!(released), released.len()),
        ];
        for (step, list, _) in steps.into_iter().filter(|(_, _, count)| *count > 0) {
            let values = [Value::Text(&list.to_string())];
            DB::execute(&mut transaction, self.statements.sql(step), &values).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(super) async fn purge_on(
        &self,
        connection: &mut DB::Connection,
        retention: Duration,
        limit: usize,
    ) -> Result<u64, OutboxError> {
        let values = [Value::Int(micros(retention)), int(limit)];
        self.change(connection, Step::Purge, &values).await
    }

    /// A question. In a transaction, because a statement without one would be prepared on one server
    /// and run on another behind a pooler.
    pub(super) async fn ask(
        &self,
        connection: &mut DB::Connection,
        step: Step,
        values: &[Value<'_>],
    ) -> Result<Vec<DB::Row>, OutboxError> {
        let mut transaction = connection.begin().await?;
        let rows = DB::rows(&mut transaction, self.statements.sql(step), values).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// A change, in a transaction of its own.
    pub(super) async fn change(
        &self,
        connection: &mut DB::Connection,
        step: Step,
        values: &[Value<'_>],
    ) -> Result<u64, OutboxError> {
        let mut transaction = connection.begin_with(DB::BEGIN).await?;
        let changed = DB::execute(&mut transaction, self.statements.sql(step), values).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

pub(super) fn int(count: usize) -> Value<'static> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The columns that a fetch and the list of dead letters have in common.
///
/// # Errors
///
/// `Decode` where somebody wrote headers that are no list of pairs.
fn read_message<DB: OutboxDatabase>(row: &DB::Row) -> Result<Stored, Error> {
    let mut stored = read_without_headers::<DB>(row)?;
    let headers = serde_json::from_str(&DB::text(row, 4)?);
    stored.headers = headers.map_err(|error| Error::Decode(error.into()))?;
    Ok(stored)
}

fn read_without_headers<DB: OutboxDatabase>(row: &DB::Row) -> Result<Stored, Error> {
    Ok(Stored {
        id: DB::text(row, 1)?,
        topic: DB::text(row, 2)?,
        partition: DB::text(row, 3)?,
        headers: Vec::new(),
        payload: DB::bytes(row, 5)?.into(),
        attempts: u32::try_from(DB::int(row, 6)?).unwrap_or(u32::MAX),
        age: duration(DB::int(row, 7)?),
    })
}

/// A dead letter can be one because it cannot be read: what is left of it is shown.
pub(super) fn read_letter<DB: OutboxDatabase>(row: &DB::Row) -> Result<DeadLetter, Error> {
    let stored = read_message::<DB>(row).or_else(|_| read_without_headers::<DB>(row))?;
    Ok(DeadLetter {
        attempts: stored.attempts,
        message: OutboxMessage::new(stored),
        error: DB::text(row, 8)?,
        dead_for: duration(DB::int(row, 9)?),
    })
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::{query_scalar, sqlite::SqlitePoolOptions};

    use super::*;
    use crate::outbox::Message;

    /// As after an answer that was lost.
    #[tokio::test]
    async fn a_settlement_that_is_sent_again_counts_nothing_twice() {
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect("sqlite::memory:").await.unwrap();
        let outbox = Outbox::sqlite(pool.clone());
        outbox.migrate().await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        outbox.enqueue(&mut transaction, Message::new("a", "orders", "{}")).await.unwrap();
        transaction.commit().await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let minute = Duration::from_mins(1);
        let batches = outbox.claim(&mut connection, "relay", minute, 1, 1).await.unwrap();
        let lease = batches[0].lease;
        let next = Next::Retry(Duration::ZERO);
        let failed = vec![Failure { lease, id: "a".to_owned(), next, error: "no".to_owned() }];
        let done = Settlement { published: Vec::new(), failed, released: vec![lease] };
        for _ in 0..3 {
            outbox.settle(&mut connection, &done).await.unwrap();
        }
        let attempts: i64 = query_scalar("select attempts from idempotent_outbox")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(attempts, 1);
    }
}
