//! What only SQLite does to transactions: one of them writes at a time.

use std::time::Duration;

use axum::response::IntoResponse as _;
use idempotent_runtime::Idempotency;
use idempotent_sqlx::sqlx;
use idempotent_tests::Gate;
use tokio::time::{Instant, sleep};

use crate::{
    backend::{Backend as _, Sqlite},
    ledger::{Ledger as _, pay_and_record},
    support::{Handler, Process, assert_paid, in_time, processes},
};

/// Their renewals wait until the file is free again, and are no lost leases.
///
/// CASE 48.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_of_one_handler_takes_no_lease_from_the_others() {
    const LEASE: Duration = Duration::from_millis(1500);
    let place = Sqlite::shared().unwrap();
    let (pool, gate) = (place.open().await, Gate::new());
    let handler = Handler::new({
        let (pool, gate) = (pool.clone(), gate.clone());
        move |run| {
            let (pool, gate) = (pool.clone(), gate.clone());
            async move {
                if run.key != "long" {
                    gate.pass().await;
                    let lost = tokio::time::timeout(Duration::ZERO, run.attempt.lease_lost()).await;
                    assert!(lost.is_err(), "the lease was lost");
                    return run.paid();
                }
                let mut tx = Sqlite::begin(&pool).await.unwrap();
                let recorded = pay_and_record::<Sqlite>(&mut tx, &run).await.unwrap();
                // A third into the leases of the others they want to be renewed, and cannot.
                sleep(LEASE * 2 / 3).await;
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let mut processes = Vec::new();
    for _ in 0..2 {
        let settings = Idempotency::builder(place.connect().await).lease(LEASE);
        processes.push(Process::with(settings, &handler));
    }
    let others = [processes[0].begin("a"), processes[1].begin("b")];
    for _ in &others {
        in_time(gate.reached()).await;
    }
    let long = processes[0].pay("long").await;
    assert!(long.text().ends_with("attempt 1"), "{long:?}");
    // Renewed since: past the end that they had when the transaction began.
    sleep(LEASE).await;
    for _ in &others {
        gate.open();
    }
    for other in others {
        assert!(other.answer().await.text().ends_with("attempt 1"));
    }
    assert_eq!((handler.runs(), Sqlite::payments(&pool).await), (3, 1));
}

/// One that begins to read and then writes would fail where another has written in between, however
/// patient its pool is.
///
/// CASE 48.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_read_and_then_write_wait_for_each_other() {
    let place = Sqlite::shared().unwrap();
    // Which turns the write-ahead log on.
    place.connect().await;
    let pool = place.open().await;
    let read = "select count(*) from payments";
    // What the helper is for.
    let mut deferred = pool.begin().await.unwrap();
    let _: i64 = sqlx::query_scalar(read).fetch_one(&mut *deferred).await.unwrap();
    sqlx::query("insert into payments values ('other')").execute(&pool).await.unwrap();
    let begun = Instant::now();
    Sqlite::pay(&mut deferred, "deferred").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "at once, whatever the busy timeout");
    drop(deferred);

    let handler = Handler::new({
        let pool = pool.clone();
        move |run| {
            let pool = pool.clone();
            async move {
                let mut tx = Sqlite::begin(&pool).await.unwrap();
                let before: i64 = sqlx::query_scalar(read).fetch_one(&mut *tx).await.unwrap();
                sleep(Duration::from_millis(20)).await;
                let recorded = pay_and_record::<Sqlite>(&mut tx, &run).await.unwrap();
                let after: i64 = sqlx::query_scalar(read).fetch_one(&mut *tx).await.unwrap();
                assert_eq!(after, before + 1);
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let processes = processes(3, &place, &handler).await;
    let sent: Vec<_> = (0..12).map(|n| processes[n % 3].begin(&format!("k{n}"))).collect();
    for sent in sent {
        assert_eq!(sent.answer().await.status, 201);
    }
    let last = processes[0].pay("last").await;
    assert_paid(&last, 13, 1);
    assert_eq!(Sqlite::payments(&pool).await, 1 + 13);
}
