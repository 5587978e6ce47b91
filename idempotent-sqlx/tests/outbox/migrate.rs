//! Creating the tables.

use std::str::FromStr as _;

use idempotent_servers::PostgresServer;
use idempotent_sqlx::{
    Outbox,
    outbox::OutboxError,
    sqlx::{
        AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgPool, SqlitePool,
        postgres::PgPoolOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode},
    },
};
use tokio::task::JoinSet;

use crate::kit::{message, sqlite_directory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_migrate_postgres_at_once() {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let mut migrations = JoinSet::new();
    for _ in 0..10 {
        let url = database.url().to_owned();
        migrations.spawn(async move {
            let pool = PgPool::connect(&url).await.unwrap();
            Outbox::postgres(pool).in_schema("shop").unwrap().migrate().await
        });
    }
    for migrated in migrations.join_all().await {
        migrated.unwrap();
    }
    assert_eq!(database.run("select count(*) from shop.outbox_slots").trim(), "64");
    // A role that may create nothing gets along.
    let role = format!("reader_of_{}", database.name());
    database.run(&format!("create role {role}; grant usage on schema shop to {role}"));
    let set_role = format!("set role {role}");
    let options = PgPoolOptions::new().after_connect(move |connection, _| {
        let set_role = AssertSqlSafe(set_role.clone());
        Box::pin(async move { connection.execute(set_role).await.map(drop) })
    });
    let outbox = Outbox::postgres(options.connect(database.url()).await.unwrap());
    assert!(outbox.migrate().await.is_err(), "nothing is there");
    let outbox = outbox.in_schema("shop").unwrap();
    outbox.migrate().await.unwrap();
    database.run(&format!("drop owned by {role}; drop role {role}"));
    assert!(matches!(outbox.in_schema("a b"), Err(OutboxError::InvalidName(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_migrate_sqlite_at_once() {
    let directory = sqlite_directory();
    let url = format!("sqlite:{}", directory.join("outbox.db").display());
    let options = SqliteConnectOptions::from_str(&url).unwrap();
    // The file and its log are there first: two that begin a log at once are in each other's way, and
    // that is none of the outbox's.
    let create = options.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    create.connect().await.unwrap().close().await.unwrap();
    let mut migrations = JoinSet::new();
    for _ in 0..10 {
        let options = options.clone();
        migrations.spawn(async move {
            let pool = SqlitePool::connect_with(options).await.unwrap();
            let outbox = Outbox::sqlite(pool.clone());
            outbox.migrate().await.unwrap();
            let mut transaction = pool.begin_with("begin immediate").await.unwrap();
            outbox.enqueue(&mut transaction, message("a", 0)).await.unwrap();
            transaction.commit().await.unwrap();
            outbox.status().await.unwrap().pending
        });
    }
    assert_eq!(migrations.join_all().await, [1; 10]);
    std::fs::remove_dir_all(directory).unwrap();
}
