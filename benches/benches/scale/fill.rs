//! Completed keys in great number, written past the stores: the same rows, in one go.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use idempotent_redis::{RedisStore, redis};
use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, LeaseId, MemoryStore, Metadata, Record, StorageKey,
    Store as _,
};
use idempotent_sqlx::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// Keys that go in one message.
const BATCH: u64 = 5_000;
const DAY: Duration = Duration::from_hours(24);

pub(crate) fn key(n: u64) -> StorageKey {
    StorageKey::derive(None, None, "POST /payments", &n)
}

pub(crate) fn fingerprint() -> Fingerprint {
    Fingerprint::of(&"request")
}

/// The answer of a small JSON API.
fn record() -> Record {
    let content_type = HeaderName::from_static("content-type");
    let headers = vec![(content_type, HeaderValue::from_static("application/json"))];
    let metadata =
        Metadata::Response { status: StatusCode::CREATED, headers, trailers: Vec::new() };
    Record::new(fingerprint(), metadata, Bytes::from(format!("{{\"id\":\"{:0>182}\"}}", 1)))
}

/// Microseconds since 1970, and the same in a day.
fn times() -> (i64, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap();
    (micros(now), micros(now + DAY))
}

/// The ranges that make up `keys`.
fn batches(keys: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..keys).step_by(usize::try_from(BATCH).unwrap()).map(move |at| at..keys.min(at + BATCH))
}

pub(crate) async fn memory(store: &MemoryStore, keys: u64) {
    let (fingerprint, record) = (fingerprint(), record());
    for n in 0..keys {
        let key = key(n);
        let request = AcquireRequest::new(&key, &fingerprint, LeaseId::random(), DAY);
        let Acquired::Granted(lease) = store.acquire(request).await.unwrap() else { panic!() };
        store.complete(&lease, record.clone(), DAY).await.unwrap();
    }
}

pub(crate) async fn redis(url: &str, store: &RedisStore, keys: u64) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (record, (now, until)) = (record(), times());
    let (fingerprint, metadata) = (fingerprint().to_string(), record.metadata().to_json());
    for batch in batches(keys) {
        let mut pipe = redis::pipe();
        for n in batch {
            let key = store.redis_key(&key(n));
            pipe.cmd("HSET").arg(&key);
            pipe.arg("state").arg("completed").arg("fingerprint").arg(&fingerprint);
            pipe.arg("attempt").arg(1).arg("token").arg(now).arg("until").arg(until);
            pipe.arg("metadata").arg(&metadata).arg("body").arg(&record.body()[..]).ignore();
            pipe.cmd("PEXPIREAT").arg(&key).arg(until / 1000 + 1).ignore();
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }
}

pub(crate) async fn postgres(url: &str, schema: &str, keys: u64) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let run = async |connection: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
    };
    // The triggers that look for the lease of each record.
    run(&mut connection, "set session_replication_role = replica".to_owned()).await;
    let (record, fingerprint) = (record(), fingerprint());
    let leases = format!(
        "insert into {schema}.leases (key, lease_id, token, first_token, attempt, state, fingerprint, \
            leased_until, retention, ttl, operation, purge_at) \
        select key, substr(key, 1, 16), 1, 1, 1, 'leased', $2, clock_timestamp(), '1 day', \
            '1 day', 'POST /payments', clock_timestamp() + '1 day' from unnest($1::bytea[]) as key"
    );
    let records = format!(
        "insert into {schema}.records (key, lease_id, fingerprint, status, metadata, body, \
            completed_at, expires_at) \
        select key, substr(key, 1, 16), $2, 201, $3::json, $4, clock_timestamp(), \
            clock_timestamp() + '1 day' from unnest($1::bytea[]) as key"
    );
    for batch in batches(keys) {
        let keys: Vec<_> = batch.map(|n| key(n).as_bytes().to_vec()).collect();
        sqlx::query(AssertSqlSafe(leases.clone()))
            .bind(&keys)
            .bind(&fingerprint.as_bytes()[..])
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query(AssertSqlSafe(records.clone()))
            .bind(&keys)
            .bind(&fingerprint.as_bytes()[..])
            .bind(record.metadata().to_json())
            .bind(&record.body()[..])
            .execute(&mut connection)
            .await
            .unwrap();
    }
    run(&mut connection, format!("vacuum analyze {schema}.leases")).await;
    run(&mut connection, format!("vacuum analyze {schema}.records")).await;
    run(&mut connection, "checkpoint".to_owned()).await;
}

pub(crate) async fn sqlite(url: &str, keys: u64) {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    // Rows that are inserted in the order of their keys go to the end of each tree.
    let mut sorted: Vec<_> = (0..keys).map(key).collect();
    sorted.sort_unstable();
    let (record, fingerprint, (now, until)) = (record(), fingerprint(), times());
    let metadata = record.metadata().to_json();
    let mut transaction = connection.begin().await.unwrap();
    for key in &sorted {
        let (key, lease_id) = (&key.as_bytes()[..], &key.as_bytes()[..16]);
        let lease = "insert into idempotent_leases (key, lease_id, token, first_token, attempt, state, \
                fingerprint, operation, ttl, leased_until, retention, purge_at) \
            values (?1, ?2, ?3, ?3, 1, 'leased', ?4, 'POST /payments', ?5, ?3, ?5, ?6)";
        sqlx::query(lease)
            .bind(key)
            .bind(lease_id)
            .bind(now)
            .bind(&fingerprint.as_bytes()[..])
            .bind(until - now)
            .bind(until)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let outcome = "insert into idempotent_records values (?1, ?2, ?3, 201, ?4, ?5, ?6, ?7)";
        sqlx::query(outcome)
            .bind(key)
            .bind(lease_id)
            .bind(&fingerprint.as_bytes()[..])
            .bind(&metadata)
            .bind(&record.body()[..])
            .bind(now)
            .bind(until)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await.unwrap();
}
