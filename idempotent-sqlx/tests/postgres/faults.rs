//! Servers that die, hang and come back; connections that were ended; calls whose answer is lost.

use std::time::Duration;

use idempotent_runtime::{Acquired, KeyState, Store as _, StoreError};
use idempotent_servers::{Answers, PostgresServer, Proxy};
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{AssertSqlSafe, postgres::PgConnectOptions, query, query_scalar, raw_sql},
};
use tokio::{task::JoinSet, time::timeout};

use crate::kit::{LONG, Mode, Schema, acquire, granted, key, lapsed, record};

async fn store_at(url: &str) -> PostgresStore {
    let store = PostgresStore::builder().acquire_timeout(Duration::from_secs(30));
    let store = store.connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// Fills the pool with idle connections.
async fn warm(store: &PostgresStore) {
    let mut connections = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        connections.push(store.pool().acquire().await.unwrap());
    }
    for mut connection in connections {
        connection.return_to_pool().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_goes_on_after_all_pooled_connections_were_ended() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let url = schema.database().url();
    let store = PostgresStore::builder().schema(&schema.name).connect(url).await.unwrap();
    let admin = schema.pool(1);
    let end_all = || async {
        warm(&store).await;
        query(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
            where pid <> pg_backend_pid() and query like '%' || $1 || '%'",
        )
        .bind(&schema.name)
        .execute(&admin)
        .await
        .unwrap();
    };
    for step in 0..8 {
        let lease = granted(&store, &key(), LONG).await;
        // Each connection has run a statement that names the schema.
        let warmed: JoinSet<_> = (0..10)
            .map(|_| {
                let (store, key) = (store.clone(), lease.key);
                async move { store.inspect(&key).await.map(drop) }
            })
            .collect();
        warmed.join_all().await.into_iter().for_each(|done| done.unwrap());
        end_all().await;
        match step {
            0 => drop(granted(&store, &key(), LONG).await),
            1 => store.complete(&lease, record("paid"), LONG).await.unwrap(),
            2 => store.renew(&lease, LONG).await.unwrap(),
            3 => store.release(&lease, LONG).await.unwrap(),
            4 => store.abandon(&lease).await.unwrap(),
            5 => store.save_step(&lease, "charge", b"7"[..].into()).await.unwrap(),
            6 => drop(store.inspect(&lease.key).await.unwrap()),
            _ => drop(store.purge_expired(1).await.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_and_restarted_has_what_was_answered() {
    let Some(mut server) = PostgresServer::builder().durable().start() else { return };
    let database = server.database();
    let store = store_at(database.url()).await;
    let running = granted(&store, &key(), LONG).await;
    let ended = granted(&store, &key(), LONG).await;
    store.complete(&ended, record("paid"), LONG).await.unwrap();
    warm(&store).await;
    let mut server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    })
    .await
    .unwrap();
    let down = timeout(Duration::from_secs(1), acquire(&store, &ended.key, LONG)).await;
    assert!(!matches!(down, Ok(Ok(_))), "{down:?}");
    let _server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .unwrap();
    // The first call after it goes through.
    store.renew(&running, LONG).await.unwrap();
    let found = acquire(&store, &ended.key, LONG).await;
    assert!(matches!(found, Ok(Acquired::Completed { .. })), "{found:?}");
    store.complete(&running, record("paid"), LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_for_five_seconds_is_waited_for() {
    let Some(mut server) = PostgresServer::start() else { return };
    let database = server.database();
    let store = store_at(database.url()).await;
    let lease = granted(&store, &key(), LONG).await;
    warm(&store).await;
    server.pause();
    // As the engine does: gives up, again and again, while the server hangs.
    let mut calls = JoinSet::new();
    for n in 0..30 {
        let (store, lease) = (store.clone(), lease.clone());
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 100)).await;
            timeout(Duration::from_secs(2), store.renew(&lease, LONG)).await.is_err()
        });
    }
    let gave_up = calls.join_all().await;
    assert!(gave_up.into_iter().all(|gave_up| gave_up));
    server.resume();
    let renewed = timeout(Duration::from_secs(20), store.renew(&lease, LONG)).await.unwrap();
    renewed.unwrap();
    store.complete(&lease, record("paid"), LONG).await.unwrap();
}

/// Applied, and its answer lost: the store asks again, and knows its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_answer_is_lost_is_answered_by_its_repetition() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let url = schema.database().url();
    let address: PgConnectOptions = url.parse().unwrap();
    let proxy = Proxy::new(format!("{}:{}", address.get_host(), address.get_port()));
    let builder = PostgresStore::builder().schema(&schema.name).max_connections(1);
    let store = builder.connect(&proxy.url(url)).await.unwrap();
    let direct = schema.store();
    // Every function is prepared on the connection only once it was used.
    let lose = || async {
        warm(&store).await;
        proxy.lose_answers(1, Answers::Cut);
    };

    let lease = granted(&store, &key(), LONG).await;
    store.complete(&lease, record("first"), LONG).await.unwrap();
    let lease = granted(&store, &key(), LONG).await;
    lose().await;
    store.complete(&lease, record("paid"), LONG).await.unwrap();
    let state = direct.inspect(&lease.key).await.unwrap();
    assert!(matches!(state, KeyState::Completed { .. }), "{state:?}");
    // Of another's record it would say what is true.
    let other = store.complete(&lease, record("other"), LONG).await;
    assert!(matches!(other, Err(StoreError::LeaseLost)), "{other:?}");

    let lease = granted(&store, &key(), LONG).await;
    store.release(&lease, LONG).await.unwrap();
    let lease = granted(&store, &lease.key, LONG).await;
    lose().await;
    store.release(&lease, LONG).await.unwrap();
    let state = direct.inspect(&lease.key).await.unwrap();
    assert!(matches!(state, KeyState::Released { attempt: 2, .. }), "{state:?}");

    let lease = granted(&store, &key(), LONG).await;
    store.free(&lease, LONG).await.unwrap();
    let lease = granted(&store, &lease.key, LONG).await;
    lose().await;
    store.free(&lease, LONG).await.unwrap();
    assert!(matches!(direct.inspect(&lease.key).await.unwrap(), KeyState::Absent));
    let other = store.free(&lease, LONG).await;
    assert!(matches!(other, Err(StoreError::LeaseLost)), "{other:?}");

    let acquired_key = key();
    lose().await;
    let lease = granted(&store, &acquired_key, LONG).await;
    assert_eq!(lease.attempt, 1);

    store.forget(&key(), true).await.unwrap();
    lose().await;
    let forgotten = store.forget(&lease.key, true).await;
    assert!(forgotten.as_ref().is_err_and(StoreError::is_unknown), "{forgotten:?}");
    assert!(matches!(direct.inspect(&lease.key).await.unwrap(), KeyState::Absent));
    assert_eq!(proxy.lost_answers(), 5);
}

/// Another session locks rows in another order: a deadlock, whose victim may be the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_repeated_and_answered() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let store = schema.store();
    let admin = schema.pool(2);
    let trigger = format!(
        "create table {0}.other (id int primary key); insert into {0}.other values (1); \
        create function {0}.touch() returns trigger language plpgsql as $$ begin \
            update {0}.other set id = id; return new; end $$; \
        create trigger touch before update on {0}.leases for each row execute function {0}.touch()",
        schema.name
    );
    raw_sql(AssertSqlSafe(trigger)).execute(&admin).await.unwrap();
    let lease = granted(&store, &key(), LONG).await;
    let mut tx = admin.begin().await.unwrap();
    // So that the store's session finds the deadlock and is the victim.
    raw_sql("set local deadlock_timeout = '10min'").execute(&mut *tx).await.unwrap();
    let other = format!("update {}.other set id = id", schema.name);
    query(AssertSqlSafe(other)).execute(&mut *tx).await.unwrap();
    let renewal = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move { store.renew(&lease, LONG).await }
    });
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
        and query like '%' || $1 || '%'";
    let waiting = || query_scalar::<_, i64>(waiting).bind(&schema.name).fetch_one(&admin);
    while waiting().await.unwrap() == 0 {}
    let lease_row = format!("update {}.leases set state = state where key = $1", schema.name);
    query(AssertSqlSafe(lease_row))
        .bind(&lease.key.as_bytes()[..])
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    renewal.await.unwrap().unwrap();
}

/// What the steps rely on is not there where transactions have another isolation level by default:
/// a look after a wait would see what was true before it.
#[tokio::test(flavor = "multi_thread")]
async fn steps_are_read_committed_whatever_the_database_says() {
    let Some(schema) = Schema::new(Mode::Serializable).await else { return };
    let store = schema.store();
    let level = "select current_setting('transaction_isolation')";
    let level: String = query_scalar(level).fetch_one(store.pool()).await.unwrap();
    assert_eq!(level, "serializable");
    let lease = lapsed(&store, &key()).await;
    let mut takeovers = JoinSet::new();
    for _ in 0..20 {
        let (store, key) = (store.clone(), lease.key);
        takeovers.spawn(async move { acquire(&store, &key, LONG).await });
    }
    let granted = takeovers.join_all().await.into_iter();
    let granted = granted.filter(|answer| matches!(answer, Ok(Acquired::Granted(_)))).count();
    assert_eq!(granted, 1);
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_unavailable() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let builder = PostgresStore::builder().schema(&schema.name).max_connections(1);
    let builder = builder.acquire_timeout(Duration::from_millis(50));
    let store = builder.connect(schema.database().url()).await.unwrap();
    let taken = store.pool().acquire().await.unwrap();
    let refused = acquire(&store, &key(), LONG).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    drop(taken);
}

/// The disk is full, or the quota: what there is no room for is refused, and nothing was applied.
#[tokio::test]
async fn no_room_is_full() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let store = schema.store();
    let full = format!(
        "create function {0}.refuse() returns trigger language plpgsql as $$ begin \
            raise exception 'no space left on device' using errcode = 'disk_full'; end $$; \
        create trigger refuse before insert on {0}.leases execute function {0}.refuse()",
        schema.name
    );
    raw_sql(AssertSqlSafe(full)).execute(&schema.pool(1)).await.unwrap();
    let refused = acquire(&store, &key(), LONG).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
}
