//! `SQLite`: nothing to install.

use std::{str::FromStr as _, time::Duration};

use idempotent_sqlx::{
    Outbox, SqliteStore, sqlite,
    sqlx::{
        self, AssertSqlSafe, Row as _, SqlSafeStr, Sqlite, SqliteConnection, SqlitePool,
        SqliteTransaction,
        query::Query,
        raw_sql,
        sqlite::{
            SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
            SqliteSynchronous,
        },
    },
};

use super::{Database, Dialect, Opened, Value};
use crate::startup::StartError;

/// As in `PostgreSQL`, nothing here keeps an order from being shipped twice or never.
const TABLES: &str = "create table if not exists orders (
    id integer primary key autoincrement,
    item text not null,
    quantity integer not null,
    address text not null,
    status text not null default 'placed' check (status in ('placed', 'shipped')),
    version integer not null default 1,
    message_id text not null,
    placed_at real not null default (unixepoch('subsec'))
) strict;
create table if not exists shipments (
    id integer primary key autoincrement,
    order_id integer not null,
    quantity integer not null,
    address text not null,
    attempt integer not null,
    shipped_at real not null default (unixepoch('subsec'))
) strict";

/// How long a transaction waits for another one to end: there is one writer at a time.
const BUSY: Duration = Duration::from_secs(5);

impl Database for Sqlite {
    type Records = SqliteStore;

    const DIALECT: Dialect = Dialect {
        snapshot: "begin",
        words: [
            ("{records}", "idempotent_records"),
            ("{messages}", "idempotent_outbox"),
            ("{body}", "cast(r.body as text)"),
            ("{order age}", "(unixepoch('subsec') - o.placed_at)"),
            ("{message age}", "(unixepoch('subsec') - m.created_at / 1000000.0)"),
        ],
    };

    /// The store opens the file first: it knows how to, where several processes do at once.
    async fn open(url: &str) -> Result<Opened<Self>, StartError> {
        let unreachable = |error: sqlx::Error| StartError::database(url, &error);
        let records = SqliteStore::builder().busy_timeout(BUSY).connect(url).await?;
        records.migrate().await?;
        let options = SqliteConnectOptions::from_str(url)
            .map_err(unreachable)?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().acquire_timeout(BUSY).connect_lazy_with(options);
        let mut transaction = Self::begin(&pool).await.map_err(unreachable)?;
        raw_sql(TABLES).execute(&mut *transaction).await.map_err(unreachable)?;
        transaction.commit().await.map_err(unreachable)?;
        let outbox = Outbox::sqlite(pool.clone());
        outbox.migrate().await?;
        Ok(Opened { pool, records, outbox })
    }

    /// With the lock of the one writer from the beginning: a transaction that reads first and wants
    /// to write later fails when another one wrote in between.
    async fn begin(pool: &SqlitePool) -> sqlx::Result<SqliteTransaction<'static>> {
        sqlite::begin_immediate(pool).await
    }

    async fn query(
        connection: &mut SqliteConnection,
        sql: String,
        values: &[Value<'_>],
    ) -> sqlx::Result<Vec<SqliteRow>> {
        bound(AssertSqlSafe(sql), values).fetch_all(connection).await
    }

    fn read_int(row: &SqliteRow, at: usize) -> sqlx::Result<i64> {
        row.try_get(at)
    }

    fn read_text(row: &SqliteRow, at: usize) -> sqlx::Result<String> {
        row.try_get(at)
    }
}

fn bound(sql: impl SqlSafeStr, values: &[Value<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text.to_owned()),
    })
}
