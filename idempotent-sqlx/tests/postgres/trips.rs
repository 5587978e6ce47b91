//! What a step costs: round trips, statements, bytes.

use idempotent_runtime::{Metadata, Record, Store as _};
use idempotent_servers::Proxy;
use idempotent_sqlx::{
    PostgresStore, Transactional as _,
    sqlx::{AssertSqlSafe, Executor as _, Postgres, postgres::PgConnectOptions, query_scalar},
};

use crate::kit::{LONG, Mode, Schema, acquire, granted, key, record};

/// The messages of one step go out in one flush, and its answer comes back: a fresh operation is two,
/// a replay one.
#[tokio::test]
async fn a_step_is_one_round_trip() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let url = schema.database().url();
    let address: PgConnectOptions = url.parse().unwrap();
    let proxy = Proxy::new(format!("{}:{}", address.get_host(), address.get_port()));
    for prepared in [true, false] {
        let store = PostgresStore::builder()
            .schema(&schema.name)
            .max_connections(1)
            .prepared_statements(prepared)
            .connect(&proxy.url(url))
            .await
            .unwrap();
        // Prepares the statements.
        let lease = granted(&store, &key(), LONG).await;
        store.complete(&lease, record("paid"), LONG).await.unwrap();
        // The driver looks after a connection when it comes back; that is not waited for by the call,
        // and here is not counted.
        let idle = || async {
            while store.pool().num_idle() == 0 {
                tokio::task::yield_now().await;
            }
            proxy.round_trips()
        };
        let mut counted = idle().await;
        let mut trips = async || {
            let now = idle().await;
            let since = now - std::mem::replace(&mut counted, now);
            since - 1
        };
        let lease = granted(&store, &key(), LONG).await;
        assert_eq!(trips().await, 1, "acquire");
        store.complete(&lease, record("paid"), LONG).await.unwrap();
        assert_eq!(trips().await, 1, "complete");
        acquire(&store, &lease.key, LONG).await.unwrap();
        assert_eq!(trips().await, 1, "replay");
    }
}

/// In the handler's transaction.
#[tokio::test]
async fn a_record_is_one_statement_of_the_transaction() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let store = schema.store();
    let url = schema.database().url();
    let address: PgConnectOptions = url.parse().unwrap();
    let proxy = Proxy::new(format!("{}:{}", address.get_host(), address.get_port()));
    let pool = idempotent_sqlx::sqlx::PgPool::connect(&proxy.url(url)).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for warm in [true, false] {
        let lease = granted(&store, &key(), LONG).await;
        let mut tx = idempotent_sqlx::sqlx::Connection::begin(&mut *connection).await.unwrap();
        tx.execute("select 1").await.unwrap();
        let before = proxy.round_trips();
        Postgres::write_record(&store, &mut tx, &lease, &record("paid"), LONG).await.unwrap();
        if !warm {
            assert_eq!(proxy.round_trips() - before, 1);
        }
        tx.commit().await.unwrap();
    }
}

/// For sizing: what a record of a small JSON answer takes, indexes and all.
#[tokio::test]
async fn a_record_takes_less_than_a_kilobyte_and_a_half() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let store = schema.store();
    let header =
        |name: &'static str, value: &'static str| (name.parse().unwrap(), value.parse().unwrap());
    let metadata = Metadata::Response {
        status: 201.try_into().unwrap(),
        headers: vec![
            header("content-type", "application/json"),
            header("location", "/payments/7f8e9d0c1b2a"),
        ],
        trailers: Vec::new(),
    };
    let answer = Record::new(crate::kit::fingerprint(), metadata, vec![b'x'; 200].into());
    let records = 2000;
    for _ in 0..records {
        let lease = granted(&store, &key(), LONG).await;
        store.complete(&lease, answer.clone(), LONG).await.unwrap();
    }
    let size = format!(
        "select sum(pg_total_relation_size(relid))::bigint from pg_stat_user_tables \
        where schemaname = '{}'",
        schema.name
    );
    let bytes: i64 = query_scalar(AssertSqlSafe(size)).fetch_one(&schema.pool(1)).await.unwrap();
    let each = bytes / records;
    eprintln!("{each} bytes for a record with a body of 200");
    assert!(each < 1500, "{each}");
}
