//! What a relay asks touches what is pending, not what was ever published.

use idempotent_servers::Database;
use idempotent_sqlx::sqlx::{self, AssertSqlSafe, PgPool, Row as _};

use crate::kit::{Broker, Running, message};

/// Pages of the table and of its indexes that were asked for so far.
async fn pages(pool: &PgPool) -> i64 {
    let sql = "select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint
        from pg_statio_user_tables where relname = 'outbox'";
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::raw_sql(sql).fetch_one(pool).await.unwrap().try_get(0).unwrap()
}

fn fill(database: &Database, from: usize, to: usize) {
    database.run(&format!(
        "insert into idempotent.outbox
            (slot, state, id, topic, partition_key, headers, payload, settled_at)
        select n % 64, 'published', 'old-' || n, 'events', 'p' || n, '[]', 'x', clock_timestamp()
        from generate_series({from}, {to}) n"
    ));
}

/// How many pages publishing one message asks for.
async fn cost(database: &Database, number: usize) -> i64 {
    let options = database.url().parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(options);
    let pool = pool.await.unwrap();
    let outbox = idempotent_sqlx::Outbox::postgres(pool.clone());
    let mut transaction = pool.begin().await.unwrap();
    outbox.enqueue(&mut transaction, message("a", number)).await.unwrap();
    transaction.commit().await.unwrap();
    let before = pages(&pool).await;
    let broker = Broker::willing();
    // One pool of one connection: its statistics are flushed by itself.
    let relay = outbox.relay_builder(broker.clone());
    let relay = relay.report_interval(std::time::Duration::from_hours(1)).build().unwrap();
    let relay = Running::start(relay);
    broker.until_taken(1).await;
    relay.stop().await;
    pages(&pool).await - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cost_of_publishing_is_flat_in_what_was_published() {
    let Some(databases) = idempotent_servers::PostgresServer::shared() else { return };
    let database = databases.database();
    let pool = PgPool::connect(database.url()).await.unwrap();
    idempotent_sqlx::Outbox::postgres(pool).migrate().await.unwrap();
    // Neither with statistics nor without them.
    fill(&database, 1, 1000);
    let few = cost(&database, 0).await;
    fill(&database, 1001, 100_000);
    let many = cost(&database, 1).await;
    database.run("analyze idempotent.outbox");
    let analyzed = cost(&database, 2).await;
    assert!(many < 2 * few + 100 && analyzed < 2 * few + 100, "{few}, {many}, {analyzed} pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_finds_what_is_pending_by_its_index() {
    let Some(kit) = crate::kit::sqlite().await else { return };
    let plan = async |sql: &str| {
        let explain = AssertSqlSafe(format!("explain query plan {sql}"));
        let rows = sqlx::query(explain).fetch_all(&kit.pool).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(3)).collect::<Vec<_>>().join("; ")
    };
    let pending = plan(
        "select * from idempotent_outbox m where slot in (1, 2) and state = 'pending' order by seq",
    )
    .await;
    assert!(pending.contains("outbox_pending"), "{pending}");
    let settled =
        plan("select seq from idempotent_outbox where settled_at is not null and settled_at <= 7 order by settled_at")
            .await;
    assert!(settled.contains("outbox_settled"), "{settled}");
}

/// Statements that stay in a session, and sessions, belong to a pooler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_prepared_where_that_is_turned_off() {
    let Some(databases) = idempotent_servers::PostgresServer::shared() else { return };
    let database = databases.database();
    let options = sqlx::postgres::PgPoolOptions::new().max_connections(1);
    let pool = options.connect(database.url()).await.unwrap();
    for (number, prepared) in [false, true].into_iter().enumerate() {
        let outbox = idempotent_sqlx::Outbox::postgres(pool.clone()).prepared_statements(prepared);
        outbox.migrate().await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        outbox.enqueue(&mut transaction, message("a", number)).await.unwrap();
        transaction.commit().await.unwrap();
        let broker = Broker::willing();
        let relay = Running::start(outbox.relay(broker.clone()));
        broker.until_taken(1).await;
        relay.stop().await;
        assert!(outbox.dead_letters(1).await.unwrap().is_empty());
        assert!(!outbox.retry("a").await.unwrap());
        assert_eq!(outbox.status().await.unwrap().pending, 0);
        let sql = "select count(*) from pg_prepared_statements";
        let row = sqlx::raw_sql(sql).fetch_one(&pool).await.unwrap();
        assert_eq!(row.get::<i64, _>(0) > 0, prepared);
    }
}
