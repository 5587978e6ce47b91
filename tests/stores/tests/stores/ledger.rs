//! Databases that hold the effects beside the records: a row for each payment.

use std::{future::Future, time::Duration};

use axum::response::Response;
use idempotent_runtime::{RecordError, Recorded};
use idempotent_sqlx::{
    RecordIn as _, Transactional, sqlite,
    sqlx::{
        self, Pool, Transaction,
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};

use crate::{
    backend::{Backend, Postgres, Sqlite},
    support::Run,
};

/// Connections of an application.
const CONNECTIONS: u32 = 5;
/// How long it waits for one.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Tx<L> = Transaction<'static, <L as Ledger>::Db>;

/// A backend that payments are made in.
pub(crate) trait Ledger: Backend {
    type Db: Transactional;

    /// The application's own connections.
    fn pool(&self) -> Pool<Self::Db> {
        self.pool_of(&self.url(), CONNECTIONS)
    }

    fn pool_of(&self, url: &str, connections: u32) -> Pool<Self::Db>;

    /// Creates the table of payments, and answers the application's connections.
    async fn open(&self) -> Pool<Self::Db>;

    /// Begins a transaction that may write.
    fn begin(pool: &Pool<Self::Db>) -> impl Future<Output = Result<Tx<Self>, sqlx::Error>> + Send;

    /// The effect.
    fn pay(
        tx: &mut Transaction<'_, Self::Db>,
        key: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// How often it happened.
    async fn payments(pool: &Pool<Self::Db>) -> i64;
}

/// The effect and its record.
pub(crate) async fn pay_and_record<L: Ledger>(
    tx: &mut Tx<L>,
    run: &Run,
) -> Result<Recorded<Response>, RecordError> {
    L::pay(tx, &run.key).await.unwrap();
    run.attempt.record_in(tx, run.paid()).await
}

const TABLE: &str = "create table if not exists payments (key text not null)";
const COUNT: &str = "select count(*) from payments";

impl Ledger for Postgres {
    type Db = sqlx::Postgres;

    fn pool_of(&self, url: &str, connections: u32) -> Pool<Self::Db> {
        let options: PgConnectOptions = url.parse().unwrap();
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options)
    }

    async fn open(&self) -> Pool<Self::Db> {
        let pool = self.pool();
        sqlx::query(TABLE).execute(&pool).await.unwrap();
        pool
    }

    async fn begin(pool: &Pool<Self::Db>) -> Result<Tx<Self>, sqlx::Error> {
        pool.begin().await
    }

    async fn pay(tx: &mut Transaction<'_, Self::Db>, key: &str) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("insert into payments (key) values ($1)").bind(key);
        insert.execute(&mut **tx).await.map(drop)
    }

    async fn payments(pool: &Pool<Self::Db>) -> i64 {
        sqlx::query_scalar(COUNT).fetch_one(pool).await.unwrap()
    }
}

impl Ledger for Sqlite {
    type Db = sqlx::Sqlite;

    fn pool_of(&self, url: &str, connections: u32) -> Pool<Self::Db> {
        let options: SqliteConnectOptions = url.parse().unwrap();
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options.create_if_missing(true).busy_timeout(PATIENCE))
    }

    async fn open(&self) -> Pool<Self::Db> {
        let pool = self.pool();
        sqlx::query(TABLE).execute(&pool).await.unwrap();
        pool
    }

    async fn begin(pool: &Pool<Self::Db>) -> Result<Tx<Self>, sqlx::Error> {
        sqlite::begin_immediate(pool).await
    }

    async fn pay(tx: &mut Transaction<'_, Self::Db>, key: &str) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("insert into payments (key) values ($1)").bind(key);
        insert.execute(&mut **tx).await.map(drop)
    }

    async fn payments(pool: &Pool<Self::Db>) -> i64 {
        sqlx::query_scalar(COUNT).fetch_one(pool).await.unwrap()
    }
}
