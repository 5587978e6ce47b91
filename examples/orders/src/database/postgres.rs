//! `PostgreSQL`.

use std::{str::FromStr as _, time::Duration};

use idempotent_sqlx::{
    Outbox, PostgresStore,
    sqlx::{
        self, AssertSqlSafe, Connection as _, PgConnection, PgPool, PgTransaction, Postgres,
        Row as _, SqlSafeStr,
        postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
        query::Query,
        raw_sql,
    },
};
use tokio::time::timeout;

use super::{Database, Dialect, Opened, Value};
use crate::startup::StartError;

/// `create table if not exists` fails where two do it at once, so they take turns.
///
/// Nothing here keeps an order from being shipped twice or never: shipments have neither a foreign
/// key nor a unique order, as where they are another service's. That it doesn't happen is what this
/// example shows; an application would have both.
const TABLES: &str = "begin;
select pg_advisory_xact_lock(hashtext('orders'));
create table if not exists orders (
    id bigint generated always as identity primary key,
    item text not null,
    quantity bigint not null,
    address text not null,
    status text not null default 'placed' check (status in ('placed', 'shipped')),
    version bigint not null default 1,
    message_id text not null,
    placed_at timestamptz not null default clock_timestamp()
);
create table if not exists shipments (
    id bigint generated always as identity primary key,
    order_id bigint not null,
    quantity bigint not null,
    address text not null,
    attempt bigint not null,
    shipped_at timestamptz not null default clock_timestamp()
);
commit";

/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

impl Database for Postgres {
    type Records = PostgresStore;

    const DIALECT: Dialect = Dialect {
        snapshot: "begin isolation level repeatable read read only",
        words: [
            ("{records}", "idempotent.records"),
            ("{messages}", "idempotent.outbox"),
            ("{body}", "convert_from(r.body, 'UTF8')::json"),
            ("{order age}", "extract(epoch from clock_timestamp() - o.placed_at)"),
            ("{message age}", "extract(epoch from clock_timestamp() - m.created_at)"),
        ],
    };

    async fn open(url: &str) -> Result<Opened<Self>, StartError> {
        let unreachable = |error: sqlx::Error| StartError::database(url, &error);
        let pool = connect(url).await.map_err(unreachable)?;
        let records = PostgresStore::connect(url).await?;
        records.migrate().await?;
        let outbox = Outbox::postgres(pool.clone());
        outbox.migrate().await?;
        Ok(Opened { pool, records, outbox })
    }

    async fn begin(pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
        pool.begin().await
    }

    async fn query(
        connection: &mut PgConnection,
        sql: String,
        values: &[Value<'_>],
    ) -> sqlx::Result<Vec<PgRow>> {
        bound(AssertSqlSafe(sql), values).fetch_all(connection).await
    }

    fn read_int(row: &PgRow, at: usize) -> sqlx::Result<i64> {
        row.try_get(at)
    }

    fn read_text(row: &PgRow, at: usize) -> sqlx::Result<String> {
        row.try_get(at)
    }
}

/// The first connection is made without the pool, which would hide why it cannot be made.
async fn connect(url: &str) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?;
    let first = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        raw_sql(TABLES).execute(&mut connection).await?;
        connection.close().await
    };
    timeout(PATIENCE, first).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    Ok(PgPoolOptions::new().acquire_timeout(PATIENCE).connect_lazy_with(options))
}

fn bound(sql: impl SqlSafeStr, values: &[Value<'_>]) -> Query<'static, Postgres, PgArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text.to_owned()),
    })
}
