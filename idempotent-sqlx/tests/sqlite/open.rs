//! What the steps of the store and a handler's open transaction do to each other.

use std::time::Duration;

use idempotent_runtime::{Acquired, KeyState, Lease, Store as _, StoreError};
use idempotent_sqlx::{
    SqliteStore, Transactional as _,
    sqlite::begin_immediate,
    sqlx::{
        Acquire as _, Sqlite, SqlitePool, Transaction, query, query_scalar, raw_sql,
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};

use crate::kit::{File, LONG, acquire, granted, key, lapsed, record};

/// An application beside its store.
struct App {
    file: File,
    store: SqliteStore,
    /// Of the application.
    ledger: SqlitePool,
}

impl App {
    async fn new() -> Self {
        let file = File::new().await;
        let store = SqliteStore::builder()
            .busy_timeout(Duration::from_millis(50))
            .connect(&file.url())
            .await
            .unwrap();
        let ledger = file.pool(4);
        raw_sql("create table payments (id text)").execute(&ledger).await.unwrap();
        Self { file, store, ledger }
    }

    async fn paying(&self) -> Transaction<'static, Sqlite> {
        let mut tx = begin_immediate(&self.ledger).await.unwrap();
        query("insert into payments values ('paid')").execute(&mut *tx).await.unwrap();
        tx
    }

    async fn payments(&self) -> i64 {
        query_scalar("select count(*) from payments").fetch_one(&self.ledger).await.unwrap()
    }

    async fn record(&self, tx: &mut Transaction<'_, Sqlite>, lease: &Lease) -> Result<(), String> {
        let written = Sqlite::write_record(&self.store, tx, lease, &record("paid"), LONG).await;
        written.map_err(|refused| format!("{refused:?}"))
    }
}

#[tokio::test]
async fn a_process_begins_beside_an_open_transaction() {
    let app = App::new().await;
    let tx = app.paying().await;
    app.store.migrate().await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_open_transaction_keeps_every_key_waiting_and_none_is_lost() {
    let app = App::new().await;
    let lease = granted(&app.store, &key(1), LONG).await;
    let mut tx = app.paying().await;
    app.record(&mut tx, &lease).await.unwrap();
    // What has to write is told that it is not known, and never that the lease is lost.
    for answer in [
        app.store.renew(&lease, LONG).await,
        app.store.release(&lease, LONG).await,
        app.store.abandon(&lease).await,
        acquire(&app.store, &key(2), LONG).await.map(drop),
    ] {
        assert!(answer.as_ref().is_err_and(StoreError::is_unknown), "{answer:?}");
    }
    // What has only to read is answered.
    let duplicate = acquire(&app.store, &key(1), LONG).await;
    assert!(matches!(duplicate, Ok(Acquired::InFlight { .. })), "{duplicate:?}");
    tx.commit().await.unwrap();
    assert!(matches!(app.store.release(&lease, LONG).await, Err(StoreError::LeaseLost)));
    let duplicate = acquire(&app.store, &key(1), LONG).await;
    assert!(matches!(duplicate, Ok(Acquired::Completed { .. })), "{duplicate:?}");
    granted(&app.store, &key(2), LONG).await;
}

/// A renewal that meets a short transaction is tried again until that has ended.
#[tokio::test]
async fn a_busy_renewal_is_tried_again() {
    let app = App::new().await;
    let patient = app.file.store().await;
    let lease = granted(&patient, &key(1), LONG).await;
    let tx = app.paying().await;
    let renewal = tokio::spawn(async move { patient.renew(&lease, LONG).await });
    // Longer than one busy timeout of its, and shorter than all of them.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    tx.rollback().await.unwrap();
    renewal.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lease_that_lapsed_is_not_taken_over_while_a_transaction_is_open() {
    let app = App::new().await;
    for (n, commits) in [(1, true), (2, false)] {
        let lease = lapsed(&app.store, &key(n)).await;
        let mut tx = app.paying().await;
        app.record(&mut tx, &lease).await.unwrap();
        let takeover = acquire(&app.store, &key(n), LONG).await;
        assert!(matches!(takeover, Ok(Acquired::InFlight { .. })), "{takeover:?}");
        if commits {
            tx.commit().await.unwrap();
            let found = acquire(&app.store, &key(n), LONG).await;
            assert!(matches!(found, Ok(Acquired::Completed { .. })), "{found:?}");
        } else {
            tx.rollback().await.unwrap();
            assert_eq!(granted(&app.store, &key(n), LONG).await.attempt, 2);
        }
    }
}

#[tokio::test]
async fn what_gives_a_lease_back_waits_for_a_transaction_and_tells_the_truth() {
    let app = App::new().await;
    for (n, commits, frees) in
        [(1, true, false), (2, false, false), (3, true, true), (4, false, true)]
    {
        let patient = app.file.store().await;
        let lease = granted(&patient, &key(n), LONG).await;
        let mut tx = app.paying().await;
        app.record(&mut tx, &lease).await.unwrap();
        let release = tokio::spawn({
            let (store, lease) = (patient.clone(), lease.clone());
            async move {
                match frees {
                    true => store.free(&lease, LONG).await,
                    false => store.release(&lease, LONG).await,
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!release.is_finished());
        if commits {
            tx.commit().await.unwrap();
            let released = release.await.unwrap();
            assert!(matches!(released, Err(StoreError::LeaseLost)), "{released:?}");
        } else {
            tx.rollback().await.unwrap();
            release.await.unwrap().unwrap();
        }
    }
}

/// The promise that a refused record takes the transaction with it rests on the commit failing.
#[tokio::test]
async fn a_paused_owner_cannot_record_and_commits_nothing() {
    let app = App::new().await;
    for (n, released) in [(1, true), (2, false)] {
        let lease = lapsed(&app.store, &key(n)).await;
        if released {
            app.store.release(&lease, LONG).await.unwrap();
        } else {
            granted(&app.store, &key(n), LONG).await;
        }
        let mut tx = app.paying().await;
        assert_eq!(app.record(&mut tx, &lease).await, Err("LeaseLost".to_owned()));
        Sqlite::poison(&mut tx).await;
        // What comes after it goes with it.
        query("insert into payments values ('more')").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap_err();
        assert_eq!(app.payments().await, 0);
    }
    // The connections are of use again, and nothing is left behind.
    for _ in 0..4 {
        app.paying().await.commit().await.unwrap();
    }
    assert_eq!(app.payments().await, 4);
}

#[tokio::test]
async fn a_record_of_a_stranger_is_refused() {
    let app = App::new().await;
    let lease = granted(&app.store, &key(1), LONG).await;
    let other = granted(&app.store, &key(2), LONG).await;
    let mut tx = app.paying().await;
    for stranger in [
        Lease::new(key(1), other.id, lease.token, 1),
        Lease::new(key(1), lease.id, other.token, 1),
        Lease::new(key(2), lease.id, lease.token, 1),
    ] {
        assert_eq!(app.record(&mut tx, &stranger).await, Err("LeaseLost".to_owned()));
    }
    app.record(&mut tx, &lease).await.unwrap();
    assert_eq!(app.record(&mut tx, &lease).await, Err("LeaseLost".to_owned()));
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn without_foreign_keys_nothing_is_recorded_and_the_effect_is_undone() {
    let app = App::new().await;
    let options: SqliteConnectOptions = app.file.url().parse().unwrap();
    let off = SqlitePoolOptions::new().connect_lazy_with(options.foreign_keys(false));
    let lease = granted(&app.store, &key(1), LONG).await;
    let mut tx = begin_immediate(&off).await.unwrap();
    query("insert into payments values ('paid')").execute(&mut *tx).await.unwrap();
    let refused = app.record(&mut tx, &lease).await.unwrap_err();
    assert!(refused.contains("ForeignKeysOff"), "{refused}");
    Sqlite::poison(&mut tx).await;
    let _ = tx.commit().await;
    assert_eq!(app.payments().await, 0);
    let state = app.store.inspect(&key(1)).await.unwrap();
    assert!(matches!(state, KeyState::Leased { .. }), "{state:?}");
}

#[tokio::test]
async fn a_record_in_a_savepoint_is_refused() {
    let app = App::new().await;
    let lease = granted(&app.store, &key(1), LONG).await;
    let mut tx = app.paying().await;
    let mut nested = tx.begin().await.unwrap();
    let refused = app.record(&mut nested, &lease).await.unwrap_err();
    assert!(refused.contains("Nested"), "{refused}");
    Sqlite::poison(&mut nested).await;
    let _ = nested.commit().await;
    tx.commit().await.unwrap_err();
    assert_eq!(app.payments().await, 0);
}

#[tokio::test]
async fn what_is_around_a_savepoint_cannot_be_committed_after_a_refusal_in_it() {
    let app = App::new().await;
    let lease = granted(&app.store, &key(1), LONG).await;
    let mut tx = app.paying().await;
    let mut nested = tx.begin().await.unwrap();
    app.record(&mut nested, &lease).await.unwrap_err();
    Sqlite::poison(&mut nested).await;
    let _ = nested.rollback().await;
    tx.commit().await.unwrap_err();
    assert_eq!(app.payments().await, 0);
}

/// What is written after it would stand alone.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_by_itself_takes_no_record_and_no_step() {
    let app = App::new().await;
    raw_sql("create unique index once on payments (id)").execute(&app.ledger).await.unwrap();
    let lease = granted(&app.store, &key(1), LONG).await;
    for records in [true, false] {
        let mut tx = app.paying().await;
        let again = "insert or rollback into payments values ('paid')";
        query(again).execute(&mut *tx).await.unwrap_err();
        let refused = if records {
            app.record(&mut tx, &lease).await.unwrap_err()
        } else {
            let step = Sqlite::write_step(&app.store, &mut tx, &lease, "charge", b"7").await;
            format!("{:?}", step.unwrap_err())
        };
        assert!(refused.contains("Ended"), "{refused}");
        Sqlite::poison(&mut tx).await;
        query("insert into payments values ('later')").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap_err();
        assert_eq!(app.payments().await, 0);
    }
    let state = app.store.inspect(&key(1)).await.unwrap();
    assert!(matches!(state, KeyState::Leased { .. }), "{state:?}");
}

#[tokio::test]
async fn a_step_in_a_transaction_is_saved_with_it() {
    let app = App::new().await;
    let lease = granted(&app.store, &key(1), LONG).await;
    for (value, commits) in [(&b"7"[..], false), (b"8", true)] {
        let mut tx = app.paying().await;
        Sqlite::write_step(&app.store, &mut tx, &lease, "charge", value).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    }
    app.store.release(&lease, LONG).await.unwrap();
    let next = granted(&app.store, &key(1), LONG).await;
    assert_eq!(&next.steps["charge"][..], b"8");
    let mut tx = app.paying().await;
    for value in [&b"8"[..], b"9"] {
        let refused = Sqlite::write_step(&app.store, &mut tx, &next, "charge", value).await;
        assert_eq!(format!("{refused:?}"), "Err(Duplicate)");
    }
    let refused = Sqlite::write_step(&app.store, &mut tx, &lease, "other", b"7").await;
    assert_eq!(format!("{refused:?}"), "Err(LeaseLost)");
}
