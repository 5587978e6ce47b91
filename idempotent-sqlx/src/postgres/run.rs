//! Asks the database, and asks again where that is safe.

use std::{sync::atomic::Ordering, time::Duration};

use idempotent_runtime::StoreError;
use sqlx::{
    Connection as _, PgConnection, Postgres, Row as _, pool::PoolConnection, postgres::PgRow,
};

use super::{
    PostgresError, PostgresStore,
    backoff::Backoff,
    call::{Function, Value},
    error::{self, Remedy},
};

/// How often a call that the database did not apply is repeated.
const REPEATS: usize = 16;
/// How often a call waits for a lock, a second each time.
const WAITS: usize = 2;
/// How often a call whose connection broke is repeated on another one.
const RECONNECTS: usize = 1;

/// The arguments of a call, by what happens when its answer is lost.
#[derive(Clone, Copy)]
pub(super) enum Once<'a> {
    /// Applied twice is applied once.
    Repeatable(&'a [Value<'a>]),
    /// The function is told, by a last argument, that an earlier call may have been applied.
    Told(&'a [Value<'a>]),
}

/// An answer.
pub(super) struct Asked {
    pub(super) row: PgRow,
    /// The answer of an earlier call was lost.
    pub(super) again: bool,
}

impl PostgresStore {
    /// Calls a function until it answers, a bounded number of times.
    pub(super) async fn ask(
        &self,
        function: Function,
        once: Once<'_>,
    ) -> Result<Asked, StoreError> {
        let mut again = false;
        let (mut repeats, mut waits, mut reconnects) = (REPEATS, WAITS, RECONNECTS);
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        loop {
            let mut called = self.connection(again).await?;
            let connection = called.begin();
            let isolate = self.0.isolate.load(Ordering::Relaxed);
            let asked = match once {
                Once::Repeatable(values) => self.once(connection, isolate, function, values).await,
                Once::Told(values) => {
                    let values: Vec<_> =
                        values.iter().copied().chain([Value::Bool(again)]).collect();
                    self.once(connection, isolate, function, &values).await
                }
            };
            called.answered();
            let failed = match asked {
                Ok(row) if is_again(function, &row) => None,
                Ok(row) => return Ok(Asked { row, again }),
                Err(failed) => Some(failed),
            };
            let remedy = failed.as_ref().map_or(Remedy::Repeat, error::remedy);
            let left = match remedy {
                Remedy::Repeat => &mut repeats,
                Remedy::Wait => &mut waits,
                Remedy::Reconnect => {
                    called.broke();
                    again = true;
                    &mut reconnects
                }
                Remedy::Isolate if !isolate => {
                    tracing::debug!(
                        "transactions are not read committed by default: a step takes three round trips"
                    );
                    self.0.isolate.store(true, Ordering::Relaxed);
                    continue;
                }
                Remedy::Isolate | Remedy::Fail => &mut 0,
            };
            if *left == 0 {
                return Err(failed.map_or(PostgresError::Contended.into(), error::told));
            }
            *left -= 1;
            if remedy == Remedy::Repeat {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    async fn once(
        &self,
        connection: &mut PgConnection,
        isolate: bool,
        function: Function,
        values: &[Value<'_>],
    ) -> Result<PgRow, sqlx::Error> {
        let statements = &self.0.statements;
        if !isolate {
            return statements.call(connection, function, values).await;
        }
        let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let row = statements.call(&mut transaction, function, values).await?;
        transaction.commit().await?;
        Ok(row)
    }

    /// A connection of the pool. After one of them broke all others may be dead too, as when the
    /// server was restarted: then it is tested, and the dead ones go.
    pub(super) async fn connection(&self, tested: bool) -> Result<Called, StoreError> {
        loop {
            let connection = self.0.pool.acquire().await.map_err(PostgresError::Database)?;
            let mut called = Called { connection, returns: true };
            // Each round takes one dead connection out of the pool, so this ends.
            if !tested || called.begin().ping().await.is_ok() {
                called.answered();
                return Ok(called);
            }
        }
    }
}

/// A connection of the pool. In the middle of a call that is given up it is closed: the pool would
/// wait for the answer, and where the server is gone without a word have one place less for good.
pub(super) struct Called {
    connection: PoolConnection<Postgres>,
    returns: bool,
}

impl Called {
    pub(super) fn begin(&mut self) -> &mut PgConnection {
        self.returns = false;
        &mut self.connection
    }

    pub(super) fn answered(&mut self) {
        self.returns = true;
    }

    fn broke(&mut self) {
        self.returns = false;
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if !self.returns {
            self.connection.close_on_drop();
        }
    }
}

/// Whether an `acquire` found the key changed each time it looked.
fn is_again(function: Function, row: &PgRow) -> bool {
    function == Function::Acquire
        && row.try_get::<&str, _>(0).is_ok_and(|outcome| outcome == "again")
}
