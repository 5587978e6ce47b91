//! The transactional outbox: a message is written in the transaction of the effect it tells of, and a
//! relay publishes it afterwards.
//!
//! A handler that commits and then publishes loses the message when it is killed in between; one that
//! publishes first announces what may never be committed. Written in the same transaction, the
//! message is there exactly when its effect is.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # mod example {
//! use idempotent_runtime::Attempt;
//! use idempotent_sqlx::{
//!     Outbox,
//!     outbox::{ChannelPublisher, Message},
//!     sqlx::{self, PgPool, Postgres},
//! };
//!
//! /// With `#[idempotent(key = header("Idempotency-Key"))]` on its handler.
//! async fn order(
//!     pool: &PgPool,
//!     outbox: &Outbox<Postgres>,
//!     attempt: &Attempt,
//! ) -> Result<i64, Box<dyn std::error::Error>> {
//!     let mut tx = pool.begin().await?;
//!     let id: i64 = sqlx::query_scalar("insert into orders default values returning id")
//!         .fetch_one(&mut *tx)
//!         .await?;
//!     let message = Message::new(
//!         attempt.downstream_key("order-created"),
//!         "orders.created",
//!         format!(r#"{{"order":{id}}}"#),
//!     );
//!     outbox.enqueue(&mut tx, message.partition(format!("order-{id}"))).await?;
//!     // `record_in` goes here; nothing but the commit comes after it.
//!     tx.commit().await?;
//!     outbox.wake();
//!     Ok(id)
//! }
//!
//! async fn start(pool: PgPool) -> Result<Outbox<Postgres>, Box<dyn std::error::Error>> {
//!     let outbox = Outbox::postgres(pool);
//!     outbox.migrate().await?;
//!     // Any `Publisher`; this one is the broker of one process.
//!     let (publisher, deliveries) = ChannelPublisher::new(64);
//!     tokio::spawn(outbox.relay(publisher).run(std::future::pending()));
//!     # drop(deliveries);
//!     Ok(outbox)
//! }
//! # }
//! ```
//!
//! # What is promised
//!
//! - **Committed is published, rolled back is not.** Whatever is killed when, a committed message is
//!   published at least once, or it is a [dead letter](Outbox::dead_letters) after `max_attempts`
//!   failures that were its own. A broker or a database that is away is waited for.
//! - **Duplicates carry one id.** What was published and not marked (a relay killed in between, an
//!   acknowledgement that got lost) is published again under the same [id](OutboxMessage::id). A
//!   broker that deduplicates drops it, for as long as it remembers ids (two minutes are the default
//!   of NATS JetStream); an idempotent consumer does so for its own `ttl`.
//! - **Partitions are in order.** The broker gets message *n + 1* of a partition only after it
//!   acknowledged *n*, however many relays there are, and whether or not their leases hold: a relay
//!   that was stopped for too long can repeat a message late, and consumers tell that by the id, but it
//!   cannot bring one forward. While a message waits for its next attempt, its partition waits;
//!   other partitions go on.
//! - **A dead letter lets its partition go on** ([`OnDead::Continue`], the default: a message that
//!   nobody can publish stops nothing, and the order has a gap) or stops it until somebody decides
//!   ([`OnDead::Block`]).
//! - **A relay that is killed** gives its messages to the others after `lease`, one that is shut down
//!   at once. No transaction is open while the broker is waited for.
//!
//! ## Which order
//!
//! That of [`enqueue`](Outbox::enqueue): a message comes before another of its partition when the
//! transaction of the first was committed before the second was enqueued, or both are of one
//! transaction and the first was enqueued first. Transactions that overlap have no order, and either
//! may come first. Where the business has one, it has it by a lock (`select … for update` on the order
//! row, an update of it, a version check that one of two fails): enqueue *behind* that, and the order
//! of the messages is the order of the effects. SQLite has one writer and thereby one order.
//!
//! # How
//!
//! Partitions are dealt to 64 slots by a hash. A relay leases slots that have something to publish
//! (`for update skip locked`, the database's clock), reads the first messages of each, publishes
//! partitions beside each other, and marks what the broker has in one transaction that also gives the
//! slots back. A lease instead of locked rows, so that a slow broker keeps no transaction open; slots
//! instead of messages, so that no two relays are ever in one partition; a fixed number of them, so
//! that the lease costs the business transaction nothing: `enqueue` is one `insert`.
//!
//! Nothing needs `LISTEN` or session locks, so that a pooler that gives each transaction to another
//! server may stand between.
//!
//! # What an operator sees
//!
//! [`Outbox::status`], the table itself (states `pending`, `published`, `dead`, `discarded`; the last
//! error; headers as JSON), warnings through `tracing`, and with the feature `metrics`:
//!
//! | metric (label `outbox`) | |
//! |---|---|
//! | `idempotency_outbox_lag_seconds` | age of the oldest message that is not published |
//! | `idempotency_outbox_pending` | messages that are not published |
//! | `idempotency_outbox_dead` | dead letters |
//! | `idempotency_outbox_published_total` | messages that were marked as published |
//! | `idempotency_outbox_failed_total` | attempts that failed |
//!
//! # Limits
//!
//! - One partition goes at the pace of the broker's acknowledgements, one at a time.
//! - Up to 64 relays have work at a time. A slot shares its turn among its partitions in the order of
//!   their messages.
//! - A relay holds `batch` payloads in memory; keep large content elsewhere and send its address.
//! - Each read passes the messages that wait behind a failed one of their partition: ten thousand of
//!   them cost PostgreSQL some 10 ms, a hundred thousand 150 ms. Give up earlier (`max_attempts`) where
//!   a partition is that busy.
//! - A transaction that stays open for hours keeps PostgreSQL from removing what was published, here as
//!   in every table that is a queue.
#![allow(clippy::doc_markdown)] // the names of databases and brokers are no code

mod channel;
mod database;
mod error;
mod message;
#[cfg(feature = "postgres")]
mod postgres;
mod publisher;
mod relay;
mod slot;
#[cfg(feature = "sqlite")]
mod sqlite;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{Pool, Transaction};
use tokio::sync::Notify;

pub use self::{
    channel::{ChannelPublisher, Delivery},
    error::OutboxError,
    message::{DeadLetter, Message, OutboxMessage},
    publisher::{PublishError, Publisher},
    relay::{OnDead, Relay, RelayBuilder},
};
use self::{
    database::{Backend, Names, Statements, Step, Value, checked_name},
    work::{int, read_letter},
};
use crate::micros::duration;

/// How often an insert is tried again when the message it met was purged in between.
const TRIES: usize = 3;

/// A database that can keep an outbox: [`Postgres`](sqlx::Postgres) and [`Sqlite`](sqlx::Sqlite).
pub trait OutboxDatabase: Backend {}
#[cfg(feature = "postgres")]
impl OutboxDatabase for sqlx::Postgres {}
#[cfg(feature = "sqlite")]
impl OutboxDatabase for sqlx::Sqlite {}

/// Messages that are written in the business transaction and published afterwards.
///
/// See the [module](self). Cloning it is cheap; clones wake the same relays.
pub struct Outbox<DB: OutboxDatabase> {
    pool: Pool<DB>,
    names: Arc<Names>,
    statements: Arc<Statements>,
    wake: Arc<Notify>,
}

/// What waits in an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Messages that are not published yet, those that failed and wait included.
    pub pending: u64,
    /// Messages that failed and wait for their next attempt.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long ago the oldest pending message was enqueued: the lag. `None` where nothing is pending.
    pub oldest: Option<Duration>,
}

#[cfg(feature = "postgres")]
impl Outbox<sqlx::Postgres> {
    /// An outbox in the tables `outbox` and `outbox_slots` of the schema `idempotent`.
    ///
    /// The pool is for the relay and for questions; messages go into the transaction they are
    /// enqueued in, whose pool has to lead to the same database. With a pool of its own the relay does
    /// not wait while handlers hold every connection of theirs.
    pub fn postgres(pool: sqlx::PgPool) -> Self {
        Self::named(pool, "idempotent", "outbox")
    }

    /// Puts the tables into another schema, which [`migrate`](Self::migrate) creates.
    ///
    /// # Errors
    ///
    /// [`OutboxError::InvalidName`]
    pub fn in_schema(self, schema: &str) -> Result<Self, OutboxError> {
        let prepared = self.statements.is_prepared();
        Ok(Self::named(self.pool, &checked_name(schema)?, &self.names.name).prepared(prepared))
    }

    /// Sets whether statements are prepared, each once for a connection. The default is `true`. Turn it
    /// off behind a pooler that gives each transaction to another server without knowing of prepared
    /// statements (`PgBouncer` before 1.21 with `pool_mode = transaction`). Whatever is asked here is
    /// asked in a transaction.
    #[must_use]
    pub fn prepared_statements(self, prepared: bool) -> Self {
        self.prepared(prepared)
    }
}

#[cfg(feature = "sqlite")]
impl Outbox<sqlx::Sqlite> {
    /// An outbox in the tables `idempotent_outbox` and `idempotent_outbox_slots`.
    ///
    /// Open the database in WAL mode (`SqliteJournalMode::Wal`): readers and the relay then do not
    /// stop each other. The pool's busy timeout is how long the relay waits for a business
    /// transaction, and the other way round.
    pub fn sqlite(pool: sqlx::SqlitePool) -> Self {
        Self::named(pool, "main", "idempotent_outbox")
    }
}

impl<DB: OutboxDatabase> Outbox<DB> {
    fn named(pool: Pool<DB>, schema: &str, name: &str) -> Self {
        let names = DB::names(schema, name);
        let statements = Statements::new::<DB>(&names);
        Self {
            pool,
            names: Arc::new(names),
            statements: Arc::new(statements),
            wake: Arc::default(),
        }
    }

    /// Names the tables `{name}` and `{name}_slots`, for several outboxes in one database.
    ///
    /// # Errors
    ///
    /// [`OutboxError::InvalidName`]
    pub fn with_name(self, name: &str) -> Result<Self, OutboxError> {
        let prepared = self.statements.is_prepared();
        Ok(Self::named(self.pool, &self.names.schema, &checked_name(name)?).prepared(prepared))
    }

    fn prepared(self, prepared: bool) -> Self {
        let statements = self.statements.as_ref().clone().prepared(prepared);
        Self { statements: Arc::new(statements), ..self }
    }

    /// The name of the outbox, which its metrics carry.
    pub fn name(&self) -> &str {
        &self.names.name
    }

    /// Creates what is missing. Many processes may do it at once.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        DB::migrate(&self.pool, &self.names).await
    }

    /// Writes a message in the transaction of the effect it tells of: both are committed or neither.
    ///
    /// One statement. A message whose id the outbox holds already is not written again, be it pending,
    /// published or dead: a later attempt of an operation that was already committed enqueues nothing
    /// new, and the consumer sees one message. Ids are remembered for the relay's `retention`. While
    /// another transaction with the same id is open, this one waits for its end. (`ON CONFLICT DO
    /// NOTHING`: an update would lock a row that the relay may be marking, for a content that must be
    /// equal anyway.)
    ///
    /// Call [`wake`](Self::wake) after the commit.
    ///
    /// # Errors
    ///
    /// - [`OutboxError::IdTaken`] when the outbox holds a message of this id that differs in topic,
    ///   partition key, headers or payload. The transaction goes on; roll it back.
    /// - [`OutboxError::InvalidMessage`]
    /// - [`OutboxError::Database`]; a transaction of PostgreSQL is aborted by it
    pub async fn enqueue(
        &self,
        transaction: &mut Transaction<'_, DB>,
        message: Message,
    ) -> Result<(), OutboxError> {
        message.check()?;
        let headers = message.headers_json();
        let (id, topic) = (Value::Text(&message.id), Value::Text(&message.topic));
        let partition = Value::Text(message.partition_key());
        let (headers, payload) = (Value::Text(&headers), Value::Bytes(&message.payload));
        let slot = Value::Int(message.slot().number());
        for _ in 0..TRIES {
            let insert = self.statements.sql(Step::Insert);
            let values = [id, topic, partition, slot, headers, payload];
            if DB::execute(transaction, insert, &values).await? == 1 {
                return Ok(());
            }
            let same = self.statements.sql(Step::Same);
            let values = [id, topic, partition, headers, payload];
            match DB::rows(transaction, same, &values).await?.first() {
                Some(row) if DB::int(row, 0)? == 1 => return Ok(()),
                Some(_) => break,
                // It was purged between the two statements.
                None => {}
            }
        }
        Err(OutboxError::IdTaken(message.id))
    }

    /// Tells the relays of this process that something was committed. Without it they find out within
    /// their `poll_interval`.
    pub fn wake(&self) {
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// A relay with every default.
    pub fn relay(&self, publisher: impl Publisher) -> Relay<DB> {
        RelayBuilder::new(self, publisher).defaults()
    }

    /// A relay to configure.
    pub fn relay_builder(&self, publisher: impl Publisher) -> RelayBuilder<DB> {
        RelayBuilder::new(self, publisher)
    }

    /// What waits. Counts what is pending: some 100 ms where a million messages are.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        let mut connection = self.pool.acquire().await?;
        let rows = self.ask(&mut connection, Step::Status, &[]).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let count = |at| DB::int(row, at).map(|count| u64::try_from(count).unwrap_or(0));
        let pending = count(0)?;
        Ok(OutboxStatus {
            pending,
            waiting: count(1)?,
            dead: count(2)?,
            oldest: if pending == 0 { None } else { Some(duration(DB::int(row, 3)?)) },
        })
    }

    /// The dead letters, those that died first in front.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, OutboxError> {
        let mut connection = self.pool.acquire().await?;
        let rows = self.ask(&mut connection, Step::Dead, &[int(limit)]).await?;
        Ok(rows.iter().map(read_letter::<DB>).collect::<Result<_, _>>()?)
    }

    /// Makes a dead letter pending again, with all its attempts. `false` where there is no dead letter
    /// of this id.
    ///
    /// Where its partition went on without it, it now comes behind messages that were enqueued later.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn retry(&self, id: &str) -> Result<bool, OutboxError> {
        let done = self.decide(Step::Retry, id).await?;
        self.wake();
        Ok(done)
    }

    /// Gives a dead letter up for good; a partition that it blocks goes on. `false` where there is no
    /// dead letter of this id. Its id stays taken for the relay's `retention`.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn discard(&self, id: &str) -> Result<bool, OutboxError> {
        let done = self.decide(Step::Discard, id).await?;
        self.wake();
        Ok(done)
    }

    /// Removes up to `limit` messages that were published or discarded at least `retention` ago, and
    /// says how many. Relays do it by themselves.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn purge(&self, retention: Duration, limit: usize) -> Result<u64, OutboxError> {
        let mut connection = self.pool.acquire().await?;
        self.purge_on(&mut connection, retention, limit).await
    }

    async fn decide(&self, step: Step, id: &str) -> Result<bool, OutboxError> {
        let mut connection = self.pool.acquire().await?;
        Ok(self.change(&mut connection, step, &[Value::Text(id)]).await? == 1)
    }
}

impl<DB: OutboxDatabase> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            names: Arc::clone(&self.names),
            statements: Arc::clone(&self.statements),
            wake: Arc::clone(&self.wake),
        }
    }
}

impl<DB: OutboxDatabase> fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("messages", &self.names.messages).finish_non_exhaustive()
    }
}
