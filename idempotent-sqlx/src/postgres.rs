//! The store of a PostgreSQL database.

mod backoff;
mod builder;
mod call;
mod error;
mod migrate;
mod run;
mod transaction;

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, KeyState, Lease, OperationName, Record, Retention, StorageKey, Store,
    StoreError,
};
use sqlx::{PgPool, Row as _, postgres::PgRow};

pub use self::{builder::PostgresStoreBuilder, error::PostgresError};
use self::{
    call::{Function, Statements, Value},
    run::{Asked, Once},
};
use crate::{
    fields::{self, Unreadable},
    micros::{duration, micros},
    purger::Purger,
};

/// How many keys one statement purges at the most, so that it is short.
const BATCH: usize = 1000;

/// Keeps leases and records in tables of a PostgreSQL database (14 or later).
///
/// For services of several processes, and for handlers whose effect is in the same database: those
/// write the record in their own transaction with `record_in`. Cloning it is cheap.
///
/// Every step is one function call in the database, one round trip, in a transaction of its own. The
/// clock is the database's.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
///
/// use idempotent_runtime::Idempotency;
/// use idempotent_sqlx::PostgresStore;
///
/// # async fn example() -> Result<(), idempotent_runtime::StoreError> {
/// let store = PostgresStore::connect("postgres://localhost/payments").await?;
/// store.migrate().await?;
/// store.spawn_purger(Duration::from_secs(60)).detach();
/// let idempotency = Idempotency::new(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    pool: PgPool,
    statements: Statements,
    /// Whether the database's default is another isolation level than the steps need.
    isolate: AtomicBool,
}

impl PostgresStore {
    /// Connects with the defaults of [`PostgresStoreBuilder`], in a pool of the store's own.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the URL is not one, or the database cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder().connect(url).await
    }

    /// A store with the defaults of [`PostgresStoreBuilder`].
    ///
    /// Give it a pool of its own: handlers that hold all connections of a shared pool in open
    /// transactions keep the store from answering them. Turn `test_before_acquire` off, which would
    /// cost every step a round trip.
    pub fn new(pool: PgPool) -> Self {
        Self::builder().pool(pool)
    }

    /// Configures a store.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::default()
    }

    fn with(pool: PgPool, schema: &str, prepared: bool) -> Self {
        let statements = Statements::new(schema, prepared);
        Self(Arc::new(Inner { pool, statements, isolate: AtomicBool::new(false) }))
    }

    /// Creates the schema with its tables and functions where they are missing. Any number of
    /// processes may do it at once, as each does when it begins.
    ///
    /// Where all is there it takes no privilege but reading; otherwise the role has to own the schema,
    /// or may create it in the database. Nothing of an older version is removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the database refuses.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut called = self.connection(false).await?;
        let migrated = migrate::migrate(called.begin(), self.0.statements.schema()).await;
        called.answered();
        migrated.map_err(migrate::told)
    }

    /// The store's own pool.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// Removes expired keys now and then `every` so often, until the answer is dropped or
    /// [detached](Purger::detach). Several processes may do so at once.
    pub fn spawn_purger(&self, every: Duration) -> Purger {
        Purger::spawn(self.clone(), every)
    }

    /// Calls a function that answers with one word.
    async fn word(&self, function: Function, values: &[Value<'_>]) -> Result<String, StoreError> {
        let asked = self.ask(function, Once::Repeatable(values)).await?;
        column(&asked.row, 0)
    }
}

impl Store for PostgresStore {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        let retention = match request.retention {
            Retention::For(retention) => Some(micros(retention)),
            Retention::UntilResolved => None,
        };
        // Text of PostgreSQL has no character 0, and a name is for people.
        let operation = match request.operation.contains('\0') {
            true => Cow::Owned(request.operation.replace('\0', "\u{fffd}")),
            false => Cow::Borrowed(request.operation.as_str()),
        };
        let values = [
            Value::Bytes(request.key.as_bytes()),
            Value::Bytes(request.fingerprint.as_bytes()),
            Value::Bytes(request.lease_id.as_bytes()),
            Value::BigInt(micros(request.lease_for)),
            Value::Micros(retention),
            Value::Bool(request.takeover),
            Value::Text(&operation),
            Value::BigInt(micros(request.ttl)),
        ];
        // Granted to this id once, it is granted to it again.
        let Asked { row, .. } = self.ask(Function::Acquire, Once::Repeatable(&values)).await?;
        let outcome: String = column(&row, 0)?;
        Ok(match &*outcome {
            "granted" => {
                let steps = Option::unwrap_or_default(column::<Option<Vec<String>>>(&row, 7)?)
                    .into_iter()
                    .zip(Option::unwrap_or_default(column::<Option<Vec<Vec<u8>>>>(&row, 8)?));
                let attempt: i32 = column(&row, 2)?;
                Acquired::Granted(fields::lease(
                    request.key,
                    request.lease_id,
                    [column(&row, 1)?, column(&row, 9)?],
                    attempt.into(),
                    steps,
                )?)
            }
            "in_flight" => Acquired::InFlight { lease_expires_in: duration(column(&row, 3)?) },
            "completed" => Acquired::Completed {
                record: record(&row)?,
                expires_in: duration(column(&row, 3)?),
            },
            "mismatch" => Acquired::FingerprintMismatch,
            "abandoned" => {
                let attempt: i32 = column(&row, 2)?;
                Acquired::Abandoned { attempt: fields::attempt(attempt.into())? }
            }
            "lost" => return Err(StoreError::LeaseLost),
            "corrupt" => return Err(Unreadable::Row.into()),
            _ => return Err(Unreadable::Word(outcome).into()),
        })
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let metadata = record.metadata().to_json();
        let values = record_values(lease, &record, &metadata, ttl);
        let asked = self.ask(Function::Complete, Once::Told(&values)).await?;
        held(&column::<String>(&asked.row, 0)?)
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let [key, id, token] = lease_values(lease);
        let values = [key, id, token, Value::BigInt(micros(lease_for))];
        held(&self.word(Function::Renew, &values).await?)
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let [key, id, token] = lease_values(lease);
        let values = [key, id, token, Value::BigInt(micros(retention))];
        let asked = self.ask(Function::Release, Once::Told(&values)).await?;
        held(&column::<String>(&asked.row, 0)?)
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let [key, id, token] = lease_values(lease);
        let values = [key, id, token, Value::BigInt(micros(retention))];
        let asked = self.ask(Function::Free, Once::Told(&values)).await?;
        held(&column::<String>(&asked.row, 0)?)
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        held(&self.word(Function::Abandon, &lease_values(lease)).await?)
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        if name.contains('\0') {
            return Err(PostgresError::Name.into());
        }
        let [key, id, token] = lease_values(lease);
        let values = [key, id, token, Value::Text(name), Value::Bytes(&value)];
        match &*self.word(Function::SaveStep, &values).await? {
            "conflict" => Err(StoreError::StepConflict { name: name.into() }),
            word => held(word),
        }
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        let values = [Value::Bytes(key.as_bytes())];
        let Asked { row, .. } = self.ask(Function::Inspect, Once::Repeatable(&values)).await?;
        let state: String = column(&row, 0)?;
        match &*state {
            "absent" => return Ok(KeyState::Absent),
            "corrupt" => return Err(Unreadable::Row.into()),
            "completed" => {
                let expires_in = duration(column(&row, 3)?);
                return Ok(KeyState::Completed { record: record(&row)?, expires_in });
            }
            _ => {}
        }
        let attempt: i32 = column(&row, 2)?;
        let (attempt, token) = (fields::attempt(attempt.into())?, fields::token(column(&row, 1)?)?);
        let fingerprint = fields::fingerprint(&column::<Vec<u8>>(&row, 4)?)?;
        let operation = OperationName::from(column::<String>(&row, 7)?);
        let ttl = duration(column(&row, 8)?);
        Ok(match &*state {
            "leased" => {
                let expires_in = duration(column(&row, 3)?);
                KeyState::Leased { fingerprint, attempt, token, operation, ttl, expires_in }
            }
            "released" => KeyState::Released { fingerprint, attempt, token, operation, ttl },
            "abandoned" => KeyState::Abandoned { fingerprint, attempt, token, operation, ttl },
            _ => return Err(Unreadable::Word(state).into()),
        })
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        let values = [Value::Bytes(key.as_bytes()), Value::Bool(force)];
        let Asked { row, again } = self.ask(Function::Forget, Once::Repeatable(&values)).await?;
        let outcome: String = column(&row, 0)?;
        match &*outcome {
            "removed" => Ok(true),
            "leased" => Err(StoreError::StillLeased),
            // Perhaps removed by the call before, whose answer was lost.
            "absent" if again => Err(PostgresError::AnswerLost.into()),
            "absent" => Ok(false),
            _ => Err(Unreadable::Word(outcome).into()),
        }
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let batch = i32::try_from((limit - removed).min(BATCH)).unwrap_or(i32::MAX);
            let values = [Value::Int(batch)];
            let Asked { row, .. } = self.ask(Function::Purge, Once::Repeatable(&values)).await?;
            let (looked, gone): (i32, i32) = (column(&row, 0)?, column(&row, 1)?);
            removed += usize::try_from(gone).unwrap_or(0);
            if looked < batch {
                break;
            }
        }
        Ok(removed)
    }

    fn transactional(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.0.statements.schema())
            .field("pool", &self.0.pool)
            .finish_non_exhaustive()
    }
}

fn lease_values(lease: &Lease) -> [Value<'_>; 3] {
    [
        Value::Bytes(lease.key.as_bytes()),
        Value::Bytes(lease.id.as_bytes()),
        Value::BigInt(fields::token_column(lease)),
    ]
}

fn record_values<'a>(
    lease: &'a Lease,
    record: &'a Record,
    metadata: &'a str,
    ttl: Duration,
) -> [Value<'a>; 8] {
    let [key, id, token] = lease_values(lease);
    [
        key,
        id,
        token,
        Value::Bytes(record.fingerprint().as_bytes()),
        Value::SmallInt(fields::status(record.metadata())),
        Value::Text(metadata),
        Value::Bytes(record.body()),
        Value::BigInt(micros(ttl)),
    ]
}

/// The answer to a step of a lease.
fn held(word: &str) -> Result<(), StoreError> {
    match word {
        "ok" => Ok(()),
        "lost" => Err(StoreError::LeaseLost),
        _ => Err(Unreadable::Word(word.to_owned()).into()),
    }
}

fn record(row: &PgRow) -> Result<Record, StoreError> {
    let fingerprint: Vec<u8> = column(row, 4)?;
    let metadata: String = column(row, 5)?;
    fields::record(&fingerprint, &metadata, column(row, 6)?)
}

fn column<'r, T>(row: &'r PgRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(at).map_err(error::told)
}
