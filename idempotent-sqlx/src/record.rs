//! Recording in the handler's own transaction.

use std::{fmt, future::Future, time::Duration};

use idempotent_runtime::{
    Attempt, BoxError, Lease, Record, RecordError, Recording, StepError, StepRefusal,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Database, Transaction};
#[cfg(feature = "axum")]
use {axum::response::IntoResponse, idempotent_runtime::Recorded};

/// Records the outcome of an [`Attempt`] in the handler's own transaction: it is committed with the
/// handler's effect, or neither is.
///
/// ```no_run
/// # #[cfg(all(feature = "axum", feature = "postgres"))] mod example {
/// use axum::{Json, extract::State, http::StatusCode, response::{IntoResponse, Response}};
/// use idempotent_runtime::{Attempt, Recorded};
/// use idempotent_sqlx::{RecordIn, sqlx::{self, PgPool}};
///
/// // With #[idempotent(key = header("Idempotency-Key"))] on it:
/// async fn pay(
///     State(ledger): State<PgPool>,
///     attempt: Attempt,
///     Json(amount): Json<i64>,
/// ) -> Result<Recorded<(StatusCode, String)>, Response> {
///     let failed = |error: sqlx::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
///     let mut tx = ledger.begin().await.map_err(|error| failed(error).into_response())?;
///     sqlx::query("insert into payments (amount) values ($1)")
///         .bind(amount)
///         .execute(&mut *tx)
///         .await
///         .map_err(|error| failed(error).into_response())?;
///     let answer = (StatusCode::CREATED, "paid".to_owned());
///     let recorded = attempt.record_in(&mut tx, answer).await.map_err(|error| error.into_response())?;
///     tx.commit().await.map_err(|error| failed(error).into_response())?;
///     Ok(recorded)
/// }
/// # }
/// ```
///
/// # What it promises
///
/// The record is one more statement in the transaction, and compares the lease's id and token. From
/// then on the runtime answers what the database confirms, whatever the handler returns: a commit may
/// fail, its answer may get lost, and `commit` of a transaction that PostgreSQL has aborted is `Ok`.
///
/// | what happens | effect | answer |
/// |---|---|---|
/// | committed | once | the recorded one, to everybody |
/// | committed, and its answer was lost, or the handler failed or panicked afterwards | once | the recorded one |
/// | rolled back, and the handler returns success | none | `500 not_committed`; a retry runs it¹ |
/// | rolled back, and the handler returns a failure | none | that failure; a retry runs it¹ |
/// | the lease was lost | none: the transaction cannot be committed | what its new owner makes of it |
/// | killed at any instant | once or not at all, as its commit was | a retry replays, or runs it¹ |
///
/// ¹ Under `on_abandoned = halt` it gets `409 outcome_unknown` until somebody has decided, and the
/// transaction must not be committed after its handler has returned, by a task that it left behind:
/// an abandoned lease can still be completed by its owner.
///
/// # Rules
///
/// - The transaction is the outermost one. In a savepoint that is rolled back the record would go and
///   the effect would stay, so a savepoint is refused.
/// - Take its connection from the application's pool, not from the store's.
/// - Nothing but the commit comes after it.
pub trait RecordIn<Db: Transactional> {
    /// Records `answer`. Commit, then return what this gives back.
    ///
    /// Where nothing is guarded, the answer is given back and nothing is written.
    ///
    /// # Errors
    ///
    /// The record was refused, and nothing of the transaction can be committed any more:
    /// [`RecordError::NotFinal`] and [`RecordError::NotRecordable`] for an answer that is not recorded,
    /// [`RecordError::LeaseLost`] when another process runs the operation,
    /// [`RecordError::WrongStore`] when the runtime's store is another kind of database,
    /// [`RecordError::Database`] for everything else, a nested transaction included.
    #[cfg(feature = "axum")]
    fn record_in<R>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        answer: R,
    ) -> impl Future<Output = Result<Recorded<R>, RecordError>> + Send
    where
        R: IntoResponse + Send;

    /// Records the value of a function. Commit, then return the value.
    ///
    /// Where nothing is guarded, nothing is written.
    ///
    /// # Errors
    ///
    /// As [`record_in`](Self::record_in); [`RecordError::NotSerializable`] instead of `NotFinal`.
    fn record_value_in<T>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        value: &T,
    ) -> impl Future<Output = Result<(), RecordError>> + Send
    where
        T: Serialize + Sync + ?Sized;
}

/// Saves the result of a step in the handler's own transaction.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn example(
/// #     attempt: idempotent_runtime::Attempt,
/// #     pool: idempotent_sqlx::sqlx::PgPool,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use idempotent_sqlx::{StepIn, sqlx};
///
/// let mut tx = pool.begin().await?;
/// let order: i64 = attempt
///     .step_in(&mut tx, "order", |tx| Box::pin(async move {
///         let insert = "insert into orders default values returning id";
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
///             sqlx::query_scalar(insert).fetch_one(&mut **tx).await?,
///         )
///     }))
///     .await
///     .map_err(|error| error.to_string())?;
/// tx.commit().await?;
/// # let _ = order;
/// # Ok(())
/// # }
/// ```
pub trait StepIn<Db: Transactional> {
    /// Runs `work` in the transaction and saves its result there: effect and result are committed
    /// together, or neither is. A later attempt gets the result and does not run `work`.
    ///
    /// A name that was used before in this attempt is refused once `work` has run, and nothing of the
    /// transaction can be committed any more. The same goes for a result that JSON would not give back,
    /// such as `Some(())` or `NaN`. Where nothing is guarded, `work` runs and nothing is saved.
    ///
    /// # Errors
    ///
    /// What `work` answers; [`StepError`] when the step was not run or its result is not saved.
    fn step_in<T, E, F>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        name: &str,
        work: F,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        E: From<StepError> + Send,
        F: for<'t> FnOnce(&'t mut Transaction<'_, Db>) -> Work<'t, T, E> + Send;
}

/// What a step does.
pub type Work<'t, T, E> = std::pin::Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

/// A database with a store in this crate: PostgreSQL, SQLite.
pub trait Transactional: Database + sealed::Sealed {
    /// Its store.
    #[doc(hidden)]
    type Store: Send + Sync + 'static;

    /// Writes the record, compared by the lease's id and token.
    #[doc(hidden)]
    fn write_record(
        store: &Self::Store,
        connection: &mut Self::Connection,
        lease: &Lease,
        record: &Record,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Writes the result of a step, compared in the same way.
    #[doc(hidden)]
    fn write_step(
        store: &Self::Store,
        connection: &mut Self::Connection,
        lease: &Lease,
        name: &str,
        value: &[u8],
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Lets nothing of the transaction be committed.
    #[doc(hidden)]
    fn poison(connection: &mut Self::Connection) -> impl Future<Output = ()> + Send;
}

pub(crate) mod sealed {
    /// Nobody else implements [`Transactional`](super::Transactional).
    #[allow(unnameable_types)] // what seals
    pub trait Sealed {}
}

/// Why a transaction took nothing.
#[doc(hidden)]
#[derive(Debug)]
#[allow(unnameable_types)] // of a sealed trait
pub enum Refused {
    LeaseLost,
    /// A step of this name is there.
    Duplicate,
    Database(BoxError),
}

impl Refused {
    /// Lets the handler know of a lost lease at once.
    fn told(self, recording: Recording<'_>) -> Self {
        if let Self::LeaseLost = self {
            recording.lease_lost();
        }
        self
    }
}

/// What a transaction has to be.
#[derive(Debug)]
pub(crate) enum Unfit {
    Nested,
    #[cfg(feature = "sqlite")]
    ForeignKeysOff,
    #[cfg(feature = "sqlite")]
    Ended,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nested => "the transaction is nested in another; record in the outermost one",
            #[cfg(feature = "sqlite")]
            Self::ForeignKeysOff => {
                "the connection does not enforce foreign keys; open its pool with them on"
            }
            #[cfg(feature = "sqlite")]
            Self::Ended => "the transaction has ended before: an error in it rolled it back",
        })
    }
}

impl std::error::Error for Unfit {}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Refused> for RecordError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::LeaseLost | Refused::Duplicate => Self::LeaseLost,
            Refused::Database(source) => Self::Database(source),
        }
    }
}

impl From<Refused> for StepRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::LeaseLost => Self::LeaseLost,
            Refused::Duplicate => Self::Duplicate,
            Refused::Database(source) => Self::Database(source),
        }
    }
}

impl<Db: Transactional> RecordIn<Db> for Attempt {
    #[cfg(feature = "axum")]
    async fn record_in<R>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        answer: R,
    ) -> Result<Recorded<R>, RecordError>
    where
        R: IntoResponse + Send,
    {
        let Some(recording) = self.recording() else { return Ok(Recorded::unguarded(answer)) };
        recording.begin();
        let written = match recording.answer(answer).await {
            Ok((record, answer)) => {
                write::<Db>(recording, transaction, &record).await.map(|()| answer)
            }
            Err(refused) => Err(refused),
        };
        or_poison(written, transaction).await
    }

    async fn record_value_in<T>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        value: &T,
    ) -> Result<(), RecordError>
    where
        T: Serialize + Sync + ?Sized,
    {
        let Some(recording) = self.recording() else { return Ok(()) };
        recording.begin();
        let written = match recording.value(value) {
            Ok(record) => write::<Db>(recording, transaction, &record).await,
            Err(refused) => Err(refused),
        };
        or_poison(written, transaction).await
    }
}

impl<Db: Transactional> StepIn<Db> for Attempt {
    async fn step_in<T, E, F>(
        &self,
        transaction: &mut Transaction<'_, Db>,
        name: &str,
        work: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        E: From<StepError> + Send,
        F: for<'t> FnOnce(&'t mut Transaction<'_, Db>) -> Work<'t, T, E> + Send,
    {
        let Some(recording) = self.recording() else { return work(transaction).await };
        if let Some(saved) = recording.saved_step(name)? {
            return Ok(saved);
        }
        let refused = |reason| StepError::new(name, reason);
        let store =
            recording.store::<Db::Store>().ok_or_else(|| refused(StepRefusal::WrongStore))?;
        let value = work(transaction).await?;
        let written = match recording.encode_step(name, &value) {
            Ok(bytes) => Db::write_step(store, transaction, recording.lease(), name, &bytes)
                .await
                .map_err(|reason| refused(reason.told(recording).into())),
            Err(error) => Err(error),
        };
        or_poison(written, transaction).await?;
        Ok(value)
    }
}

async fn write<Db: Transactional>(
    recording: Recording<'_>,
    connection: &mut Db::Connection,
    record: &Record,
) -> Result<(), RecordError> {
    let store = recording.store::<Db::Store>().ok_or(RecordError::WrongStore)?;
    let (lease, ttl) = (recording.lease(), recording.ttl());
    let written = Db::write_record(store, connection, lease, record, ttl).await;
    Ok(written.map_err(|refused| refused.told(recording))?)
}

async fn or_poison<T, E, Db: Transactional>(
    written: Result<T, E>,
    transaction: &mut Transaction<'_, Db>,
) -> Result<T, E> {
    if written.is_err() {
        Db::poison(transaction).await;
    }
    written
}
