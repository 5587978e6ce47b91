//! What has expired goes, and people can read what is there.

use std::time::Duration;

use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, LeaseId, OperationName, Store as _,
};
use idempotent_sqlx::sqlx::{Row as _, query, query_scalar, raw_sql};

use crate::kit::{File, LONG, granted, key, record};

#[tokio::test]
async fn keys_that_were_renewed_or_completed_since_are_left() {
    let file = File::new().await;
    let store = file.store().await;
    let short = Duration::from_millis(1);
    let renewed = granted(&store, &key(1), short).await;
    let completed = granted(&store, &key(2), short).await;
    let gone = granted(&store, &key(3), short).await;
    // As if all of them had been remembered for a moment only.
    raw_sql("update idempotent_leases set retention = 1000, purge_at = leased_until + 1000")
        .execute(&file.pool(1))
        .await
        .unwrap();
    raw_sql("update idempotent_leases set leased_until = leased_until + 60000000 where token <> 0")
        .execute(&file.pool(1))
        .await
        .unwrap();
    store.renew(&renewed, LONG).await.unwrap();
    store.complete(&completed, record("paid"), LONG).await.unwrap();
    store.renew(&gone, Duration::ZERO).await.unwrap();
    while !matches!(store.inspect(&key(3)).await.unwrap(), KeyState::Absent) {}
    assert_eq!(store.purge_expired(usize::MAX).await.unwrap(), 1);
    assert!(matches!(store.inspect(&key(1)).await.unwrap(), KeyState::Leased { .. }));
    assert!(matches!(store.inspect(&key(2)).await.unwrap(), KeyState::Completed { .. }));
    // And are not looked at again before their time.
    let due = "select count(*) from idempotent_leases where purge_at < 3000000 + ( \
        select cast(unixepoch('subsec') * 1000000 as integer))";
    assert_eq!(query_scalar::<_, i64>(due).fetch_one(&file.pool(1)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_spawned_purger_purges_until_it_is_dropped() {
    let file = File::new().await;
    let store = file.store().await;
    let pool = file.pool(1);
    let rows = || async {
        let count = "select count(*) from idempotent_leases";
        query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap()
    };
    for n in 0..1200 {
        let lease = granted(&store, &key(n), LONG).await;
        store.complete(&lease, record("paid"), Duration::from_millis(1)).await.unwrap();
    }
    let purger = store.spawn_purger(Duration::from_millis(10));
    let gone = async { while rows().await > 0 {} };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    drop(purger);
}

#[tokio::test]
async fn people_can_read_it() {
    let file = File::new().await;
    let store = file.store().await;
    let lease = granted(&store, &key(1), LONG).await;
    granted(&store, &key(2), LONG).await;
    store.complete(&lease, record("paid"), LONG).await.unwrap();
    let (operation, fingerprint) = (OperationName::from("POST /payments"), Fingerprint::of(&1));
    let (freed, week) = (key(3), Duration::from_hours(7 * 24));
    let request = AcquireRequest::new(&freed, &fingerprint, LeaseId::random(), LONG)
        .operation(&operation, week);
    let Acquired::Granted(freed) = store.acquire(request).await.unwrap() else { panic!() };
    store.free(&freed, LONG).await.unwrap();
    let rows = query("select * from idempotent_keys order by state")
        .fetch_all(&file.pool(1))
        .await
        .unwrap();
    let states: Vec<String> = rows.iter().map(|row| row.get("state")).collect();
    assert_eq!(states, ["completed", "freed", "leased"]);
    assert_eq!(rows[0].get::<String, _>("key"), key(1).to_string());
    assert_eq!(rows[0].get::<&[u8], _>("body"), b"paid");
    assert_eq!(rows[0].get::<String, _>("metadata"), r#"{"kind":"value"}"#);
    assert_eq!(rows[1].get::<String, _>("operation"), "POST /payments");
    assert!((rows[1].get::<f64, _>("ttl_seconds") - week.as_secs_f64()).abs() < 1e-6);
}
