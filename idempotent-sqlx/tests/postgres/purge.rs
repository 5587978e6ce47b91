//! What has expired goes, by index, and people can read what is there.

use std::time::Duration;

use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, LeaseId, OperationName, Store as _,
};
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{AssertSqlSafe, PgPool, Row as _, query, query_scalar, raw_sql},
};

use crate::kit::{LONG, Mode, Schema, acquire, granted, key, record};

/// Puts `keys` keys there, of which the last `expired` have expired: half of them with a record.
async fn fill(schema: &Schema, pool: &PgPool, keys: u32, expired: u32) {
    let fill = format!(
        "insert into {0}.leases \
            (key, lease_id, token, first_token, attempt, state, fingerprint, leased_until, \
                retention, ttl, operation, purge_at) \
        select sha256(n::text::bytea), '\\x01', n, n, 1, 'leased', sha256('f'), at, '1 day', \
            '1 day', 'POST /payments', at + interval '1 day' \
        from generate_series(1, {keys}) n, lateral (select case when n > {keys} - {expired} \
            then now() - interval '2 days' else now() + interval '1 hour' end) t (at); \
        insert into {0}.records \
            (key, lease_id, fingerprint, status, metadata, body, completed_at, expires_at) \
        select key, lease_id, fingerprint, 200, '{{\"kind\":\"value\"}}', 'body', leased_until, \
            leased_until + retention \
        from {0}.leases where token % 2 = 0; \
        analyze {0}.leases; analyze {0}.records",
        schema.name
    );
    raw_sql(AssertSqlSafe(fill)).execute(pool).await.unwrap();
}

/// The statements of the purger, as the functions have them.
fn looks(schema: &Schema) -> Vec<String> {
    let source = include_str!("../../src/postgres/sql/forget.sql");
    let looks = ["-- due records", "-- due leases"].map(|mark| {
        let (look, _) = source.split_once(mark).unwrap().1.split_once("-- end").unwrap();
        look.replace("{schema}", &schema.name)
            .replace("p_limit - o_looked", "100")
            .replace("p_limit", "100")
            .replace("<= t", "<= now()")
    });
    looks.into()
}

#[tokio::test]
async fn the_purger_finds_its_rows_by_an_index_among_many() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let pool = schema.pool(1);
    fill(&schema, &pool, 50_000, 1000).await;
    let looks = looks(&schema);
    for (look, index) in looks.iter().zip(["records_expires_at", "leases_purge_at"]) {
        let explain = AssertSqlSafe(format!("explain {look}"));
        let rows = raw_sql(explain).fetch_all(&pool).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
        assert!(plan.contains(&format!("Index Scan using {index}")), "{plan}");
        assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{plan}");
    }
}

/// No step of the store reads a table from its beginning to its end.
#[tokio::test]
async fn no_step_scans_a_table() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let pool = schema.pool(1);
    fill(&schema, &pool, 20_000, 1500).await;
    let scans = format!(
        "select string_agg(format('%s: %s', relname, seq_scan), ', ' order by relname) \
        from pg_stat_user_tables where schemaname = '{}' and relname <> 'migrations'",
        schema.name
    );
    // Sessions tell the statistics what they did when they end.
    let scans = || async {
        query("select pg_stat_force_next_flush()").execute(&pool).await.unwrap();
        query_scalar::<_, String>(AssertSqlSafe(scans.clone())).fetch_one(&pool).await.unwrap()
    };
    let before = scans().await;
    let store = schema.store();
    // More often than a plan stays a custom one.
    for _ in 0..12 {
        let lease = granted(&store, &key(), LONG).await;
        store.save_step(&lease, "charge", b"7"[..].into()).await.unwrap();
        store.renew(&lease, LONG).await.unwrap();
        acquire(&store, &lease.key, LONG).await.unwrap();
        store.release(&lease, LONG).await.unwrap();
        let lease = granted(&store, &lease.key, LONG).await;
        store.abandon(&lease).await.unwrap();
        let lease = granted(&store, &lease.key, LONG).await;
        store.complete(&lease, record("paid"), LONG).await.unwrap();
        acquire(&store, &lease.key, LONG).await.unwrap();
        store.inspect(&lease.key).await.unwrap();
        store.forget(&lease.key, true).await.unwrap();
        store.purge_expired(100).await.unwrap();
    }
    store.pool().close().await;
    assert_eq!(scans().await, before);
}

#[tokio::test]
async fn purging_takes_all_that_is_due_in_batches_and_nothing_else() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let pool = schema.pool(2);
    fill(&schema, &pool, 4000, 3500).await;
    let store = schema.store();
    assert_eq!(store.purge_expired(1).await.unwrap(), 1);
    // What another transaction holds is left for another time, and keeps nobody waiting.
    let mut tx = pool.begin().await.unwrap();
    let hold = format!(
        "select from {}.leases where purge_at < now() order by token limit 10 for key share",
        schema.name
    );
    raw_sql(AssertSqlSafe(hold)).execute(&mut *tx).await.unwrap();
    let (one, two) = tokio::join!(store.purge_expired(usize::MAX), store.purge_expired(usize::MAX));
    assert_eq!(one.unwrap() + two.unwrap(), 3489);
    tx.rollback().await.unwrap();
    assert_eq!(store.purge_expired(usize::MAX).await.unwrap(), 10);
    let left = format!("select count(*) from {}.leases", schema.name);
    let left = query_scalar::<_, i64>(AssertSqlSafe(left)).fetch_one(&pool).await.unwrap();
    assert_eq!(left, 500);
}

#[tokio::test]
async fn keys_that_were_renewed_or_completed_since_are_left() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let (store, pool) = (schema.store(), schema.pool(1));
    let (renewed, completed) = (key(), key());
    granted(&store, &renewed, LONG).await;
    let lease = granted(&store, &completed, LONG).await;
    store.complete(&lease, record("paid"), LONG).await.unwrap();
    let due = format!("update {}.leases set purge_at = now() - interval '1 hour'", schema.name);
    raw_sql(AssertSqlSafe(due)).execute(&pool).await.unwrap();
    assert_eq!(store.purge_expired(usize::MAX).await.unwrap(), 0);
    assert!(matches!(store.inspect(&renewed).await.unwrap(), KeyState::Leased { .. }));
    assert!(matches!(store.inspect(&completed).await.unwrap(), KeyState::Completed { .. }));
    // And are not looked at again before their time.
    let due = format!("select count(*) from {}.leases where purge_at < now()", schema.name);
    assert_eq!(query_scalar::<_, i64>(AssertSqlSafe(due)).fetch_one(&pool).await.unwrap(), 0);
}

#[tokio::test]
async fn a_spawned_purger_purges_until_it_is_dropped() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let pool = schema.pool(1);
    fill(&schema, &pool, 12_000, 11_000).await;
    let store = schema.store();
    let purger = store.spawn_purger(Duration::from_hours(1));
    let count = format!("select count(*) from {}.leases", schema.name);
    let left = || query_scalar::<_, i64>(AssertSqlSafe(count.clone())).fetch_one(&pool);
    let gone = async { while left().await.unwrap() > 1000 {} };
    tokio::time::timeout(Duration::from_mins(1), gone).await.unwrap();
    drop(purger);
}

#[tokio::test]
async fn people_can_read_it() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let (store, pool): (PostgresStore, _) = (schema.store(), schema.pool(1));
    let lease = granted(&store, &key(), LONG).await;
    granted(&store, &key(), LONG).await;
    store.complete(&lease, record("paid"), LONG).await.unwrap();
    let (operation, fingerprint) = (OperationName::from("POST /payments"), Fingerprint::of(&1));
    let (freed, week) = (key(), Duration::from_hours(7 * 24));
    let request = AcquireRequest::new(&freed, &fingerprint, LeaseId::random(), LONG)
        .operation(&operation, week);
    let Acquired::Granted(freed) = store.acquire(request).await.unwrap() else { panic!() };
    store.free(&freed, LONG).await.unwrap();
    let keys = format!(
        "select *, extract(epoch from ttl)::bigint as seconds from {}.keys order by state",
        schema.name
    );
    let rows = query(AssertSqlSafe(keys)).fetch_all(&pool).await.unwrap();
    let states: Vec<String> = rows.iter().map(|row| row.get("state")).collect();
    assert_eq!(states, ["completed", "freed", "leased"]);
    assert_eq!(rows[0].get::<String, _>("key"), lease.key.to_string());
    assert_eq!(rows[0].get::<&[u8], _>("body"), b"paid");
    assert_eq!(rows[1].get::<String, _>("operation"), "POST /payments");
    assert_eq!(rows[1].get::<i64, _>("seconds"), i64::try_from(week.as_secs()).unwrap());
}
