//! Writing in a handler's own transaction.

use std::time::Duration;

use idempotent_runtime::{Lease, Record};
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgRow};

use super::{
    PostgresError, PostgresStore,
    call::{Function, Value},
    error, lease_values, record_values,
};
use crate::record::{Refused, Transactional, Unfit, sealed::Sealed};

impl Sealed for Postgres {}

/// One statement each. Refused, it fails, and PostgreSQL lets nothing of the transaction be committed.
impl Transactional for Postgres {
    type Store = PostgresStore;

    async fn write_record(
        store: &PostgresStore,
        connection: &mut PgConnection,
        lease: &Lease,
        record: &Record,
        ttl: Duration,
    ) -> Result<(), Refused> {
        let metadata = record.metadata().to_json();
        let values = record_values(lease, record, &metadata, ttl);
        let row = write(store, connection, Function::Record, &values).await?;
        if row.try_get::<&str, _>(0)? == "nested" {
            // A savepoint that is rolled back would take the record with it, and leave the effect.
            end_session(connection).await;
            return Err(Refused::Database(Unfit::Nested.into()));
        }
        Ok(())
    }

    async fn write_step(
        store: &PostgresStore,
        connection: &mut PgConnection,
        lease: &Lease,
        name: &str,
        value: &[u8],
    ) -> Result<(), Refused> {
        if name.contains('\0') {
            return Err(Refused::Database(PostgresError::Name.into()));
        }
        let [key, id, token] = lease_values(lease);
        let values = [key, id, token, Value::Text(name), Value::Bytes(value)];
        write(store, connection, Function::Step, &values).await.map(drop)
    }

    async fn poison(connection: &mut PgConnection) {
        // As the driver names the first savepoint. Without one this fails, and the transaction with it.
        let nested = sqlx::raw_sql("rollback to savepoint _sqlx_savepoint_1");
        if nested.execute(&mut *connection).await.is_ok() {
            return end_session(connection).await;
        }
        // Of any statement that fails. It needs no table, and is one message without preparation. On a
        // connection that is gone, or in a transaction that has failed before, it has nothing to do.
        let fail = "do $$ begin raise exception 'idempotent: the record was refused, nothing of this \
            transaction is committed'; end $$";
        let _ = sqlx::raw_sql(fail).execute(connection).await;
    }
}

/// No failure within a savepoint fails what is around it.
async fn end_session(connection: &mut PgConnection) {
    let end = "select pg_terminate_backend(pg_backend_pid())";
    let _ = sqlx::raw_sql(end).execute(connection).await;
}

async fn write(
    store: &PostgresStore,
    connection: &mut PgConnection,
    function: Function,
    values: &[Value<'_>],
) -> Result<PgRow, Refused> {
    match store.0.statements.call(connection, function, values).await {
        Ok(row) => Ok(row),
        Err(failed) => Err(match error::code(&failed).as_deref() {
            Some("ID002") => Refused::LeaseLost,
            Some("ID003") => Refused::Duplicate,
            _ => failed.into(),
        }),
    }
}
