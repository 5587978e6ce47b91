//! What only PostgreSQL does to a transaction that holds a record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::IntoResponse as _;
use http::StatusCode;
use idempotent_runtime::{Idempotency, KeyState};
use idempotent_servers::Answers;
use idempotent_sqlx::{
    PostgresStore, RecordIn as _,
    sqlx::{self, AssertSqlSafe},
};
use idempotent_tests::Gate;
use tokio::time::{sleep, timeout};

use crate::{
    backend::{Backend as _, Postgres, Remote as _},
    ledger::{Ledger as _, pay_and_record},
    support::{Handler, Process, assert_paid, assert_replays, failed, in_time, processes},
};

const LEVELS: [&str; 3] = ["READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"];

/// The driver says that the commit went well; nothing was committed.
///
/// CASE 45.
#[tokio::test]
async fn a_commit_of_an_aborted_transaction_is_not_committed() {
    let Some(place) = Postgres::shared() else { return };
    let pool = place.open().await;
    let handler = Handler::new({
        let pool = pool.clone();
        move |run| {
            let pool = pool.clone();
            async move {
                let mut tx = Postgres::begin(&pool).await.unwrap();
                let recorded = pay_and_record::<Postgres>(&mut tx, &run).await.unwrap();
                if run.nth == 1 {
                    sqlx::query("select 1 / 0").execute(&mut *tx).await.unwrap_err();
                }
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let processes = processes(2, &place, &handler).await;
    processes[0].pay("k").await.assert_problem(500, "not_committed");
    assert_eq!(Postgres::payments(&pool).await, 0);
    assert_paid(&processes[1].pay("k").await, 2, 2);
    assert_eq!(Postgres::payments(&pool).await, 1);
}

/// The handler sees an error, or nothing at all; the database has committed.
///
/// CASE 45.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_answered_with_what_was_committed() {
    let Some(place) = Postgres::shared() else { return };
    let (pool, proxy) = (place.open().await, Arc::new(place.proxy()));
    let through = place.pool_of(&proxy.url(&place.url()), 1);
    let handler = Handler::new({
        let proxy = Arc::clone(&proxy);
        move |run| {
            let (through, proxy) = (through.clone(), Arc::clone(&proxy));
            async move {
                let mut tx = Postgres::begin(&through).await.unwrap();
                let recorded = pay_and_record::<Postgres>(&mut tx, &run).await.unwrap();
                match &*run.key {
                    "Cut" => proxy.lose_answers(1, Answers::Cut),
                    _ => proxy.lose_answers(1, Answers::Swallow),
                }
                let committed = timeout(Duration::from_millis(300), tx.commit()).await;
                assert!(!matches!(committed, Ok(Ok(()))), "its answer was lost");
                drop(recorded);
                failed()
            }
        }
    });
    let processes = processes(2, &place, &handler).await;
    for (n, key) in ["Cut", "Swallow"].into_iter().enumerate() {
        for process in &processes {
            let answer = process.pay(key).await;
            assert_eq!(answer.text(), format!("payment {}, attempt 1", n + 1));
        }
        assert_eq!(proxy.lost_answers(), n + 1);
    }
    assert_eq!((handler.runs(), Postgres::payments(&pool).await), (2, 2));
}

/// The lease is renewed many times between the first statement and the record, and between the
/// record and the commit; duplicates are told at once that it runs, and get the answer in the end.
///
/// CASE 46.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_keeps_its_lease_and_blocks_no_duplicate_at_any_isolation_level() {
    const LEASE: Duration = Duration::from_millis(600);
    let Some(place) = Postgres::shared() else { return };
    let (pool, gate) = (place.open().await, Gate::new());
    let handler = Handler::new({
        let (pool, gate) = (pool.clone(), gate.clone());
        move |run| {
            let (pool, gate) = (pool.clone(), gate.clone());
            async move {
                let begin = format!("BEGIN ISOLATION LEVEL {}", run.key.replace('-', " "));
                let mut tx = pool.begin_with(AssertSqlSafe(begin)).await.unwrap();
                Postgres::pay(&mut tx, &run.key).await.unwrap();
                gate.pass().await;
                let recorded = run.attempt.record_in(&mut tx, run.paid()).await.unwrap();
                gate.pass().await;
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let store = async |wait| {
        let settings = Idempotency::builder(place.connect().await).lease(LEASE).wait(wait);
        Process::with(settings, &handler)
    };
    let owner = store(Duration::from_secs(10)).await;
    let patient = store(Duration::from_secs(10)).await;
    let impatient = store(Duration::ZERO).await;
    for (n, level) in LEVELS.into_iter().enumerate() {
        let first = owner.begin(level);
        let mut waiting = Vec::new();
        for _ in 0..2 {
            in_time(gate.reached()).await;
            sleep(2 * LEASE).await;
            waiting.push(patient.begin(level));
            let begun = Instant::now();
            impatient.pay(level).await.assert_problem(409, "in_progress");
            assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
            gate.open();
        }
        let answer = first.answer().await;
        assert_paid(&answer, n + 1, 1);
        for waiting in waiting {
            assert_eq!(waiting.answer().await.body, answer.body);
        }
        assert_replays(&impatient.pay(level).await, &answer);
    }
    assert_eq!((handler.runs(), Postgres::payments(&pool).await), (3, 3));
}

/// The store has connections of its own: what handlers do to theirs is nothing to it.
///
/// CASE 47.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_hold_every_connection_of_the_application_do_not_hold_up_the_store() {
    let Some(place) = Postgres::shared() else { return };
    let (table, gate) = (place.open().await, Gate::new());
    let pool = place.pool_of(&place.url(), 2);
    let handler = Handler::new({
        let (pool, gate) = (pool.clone(), gate.clone());
        move |run| {
            let (pool, gate) = (pool.clone(), gate.clone());
            async move {
                if !run.key.starts_with("holds") {
                    return run.paid();
                }
                let mut tx = Postgres::begin(&pool).await.unwrap();
                let recorded = pay_and_record::<Postgres>(&mut tx, &run).await.unwrap();
                gate.pass().await;
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let lease = Duration::from_millis(600);
    let settings = Idempotency::builder(place.connect().await).lease(lease);
    let process = Process::with(settings, &handler);
    let holding = [process.begin("holds-1"), process.begin("holds-2")];
    for _ in &holding {
        in_time(gate.reached()).await;
    }
    assert_eq!((pool.size(), pool.num_idle()), (2, 0));
    let begun = Instant::now();
    while begun.elapsed() < 2 * lease {
        let key = begun.elapsed().as_nanos().to_string();
        assert_eq!(process.pay(&key).await.status, StatusCode::CREATED);
        assert!(process.pay(&key).await.is_replayed());
    }
    for _ in &holding {
        gate.open();
    }
    for sent in holding {
        assert!(sent.answer().await.text().ends_with("attempt 1"));
    }
    assert_eq!(Postgres::payments(&table).await, 2);
}

/// Who takes its connection in the body, as the documentation says, waits with nothing in its hands.
///
/// CASE 51.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_that_wait_hold_no_connection_that_the_owner_needs() {
    let Some(place) = Postgres::shared() else { return };
    let (table, gate) = (place.open().await, Gate::new());
    let handler = Handler::new({
        let (pool, gate) = (place.pool_of(&place.url(), 1), gate.clone());
        move |run| {
            let (pool, gate) = (pool.clone(), gate.clone());
            async move {
                gate.pass().await;
                let mut tx = Postgres::begin(&pool).await.unwrap();
                let recorded = pay_and_record::<Postgres>(&mut tx, &run).await.unwrap();
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let mut processes = Vec::new();
    for _ in 0..2 {
        let store =
            PostgresStore::builder().max_connections(1).connect(&place.url()).await.unwrap();
        store.migrate().await.unwrap();
        processes.push(Process::over(store, &handler));
    }
    let first = processes[0].begin("k");
    in_time(gate.reached()).await;
    let waiting: Vec<_> = (0..20).map(|n| processes[n % 2].begin("k")).collect();
    // Their store still answers, and the owner's transaction begins.
    assert!(matches!(processes[1].state("k").await, KeyState::Leased { .. }));
    gate.open();
    let first = first.answer().await;
    assert_paid(&first, 1, 1);
    for waiting in waiting {
        assert_eq!(waiting.answer().await.body, first.body);
    }
    assert_eq!(Postgres::payments(&table).await, 1);
}
