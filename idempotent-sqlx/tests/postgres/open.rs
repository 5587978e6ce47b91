//! What the steps of the store and a handler's open transaction do to each other, at every isolation
//! level that the handler may choose.

use std::{future::Future, time::Duration};

use idempotent_runtime::{Acquired, KeyState, Lease, Store as _, StoreError};
use idempotent_sqlx::{
    PostgresStore, Transactional as _,
    sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, query, query_scalar, raw_sql},
};
use tokio::{task::JoinHandle, time::timeout};

use crate::kit::{LONG, Mode, Schema, acquire, granted, key, lapsed, record};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// An application beside its store.
struct App {
    schema: Schema,
    store: PostgresStore,
    /// Of the application.
    ledger: PgPool,
}

impl App {
    async fn new() -> Option<Self> {
        Self::with(Mode::Prepared).await
    }

    async fn with(mode: Mode) -> Option<Self> {
        let schema = Schema::new(mode).await?;
        let (store, ledger) = (schema.store(), schema.pool(4));
        let table = format!("create table {}.payments (id text)", schema.name);
        raw_sql(AssertSqlSafe(table)).execute(&ledger).await.unwrap();
        Some(Self { schema, store, ledger })
    }

    /// A transaction that has paid, and so has its snapshot.
    async fn paying(&self, level: &str) -> Transaction<'static, Postgres> {
        let begin = AssertSqlSafe(format!("BEGIN ISOLATION LEVEL {level}"));
        let mut tx = self.ledger.begin_with(begin).await.unwrap();
        let pay = format!("insert into {}.payments values ('paid')", self.schema.name);
        query(AssertSqlSafe(pay)).execute(&mut *tx).await.unwrap();
        tx
    }

    async fn payments(&self) -> i64 {
        let count = format!("select count(*) from {}.payments", self.schema.name);
        query_scalar(AssertSqlSafe(count)).fetch_one(&self.ledger).await.unwrap()
    }

    async fn record(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        lease: &Lease,
    ) -> Result<(), String> {
        Postgres::write_record(&self.store, tx, lease, &record("paid"), LONG)
            .await
            .map_err(|refused| format!("{refused:?}"))
    }

    /// Waits until a session waits for a lock in this schema's functions.
    async fn somebody_waits(&self) {
        let sql = format!(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%{}%'",
            self.schema.name
        );
        let waits = async {
            let waiting =
                || query_scalar::<_, i64>(AssertSqlSafe(sql.clone())).fetch_one(&self.ledger);
            while waiting().await.unwrap() == 0 {}
        };
        timeout(Duration::from_secs(30), waits).await.unwrap();
    }
}

fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// The heartbeat comes between the transaction's first statement and the record.
#[tokio::test]
async fn a_renewal_neither_waits_for_an_open_transaction_nor_breaks_it() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        let key = key();
        let lease = granted(&app.store, &key, LONG).await;
        let mut tx = app.paying(level).await;
        app.store.renew(&lease, LONG).await.unwrap();
        app.record(&mut tx, &lease).await.unwrap();
        // The transaction stays open: were it waited for, this would end with an error.
        app.store.renew(&lease, LONG).await.unwrap();
        tx.commit().await.unwrap();
        let state = app.store.inspect(&key).await.unwrap();
        assert!(matches!(state, KeyState::Completed { .. }), "{level}: {state:?}");
        assert!(matches!(app.store.renew(&lease, LONG).await, Err(StoreError::LeaseLost)));
    }
    assert_eq!(app.payments().await, 3);
}

#[tokio::test]
async fn duplicates_are_in_flight_while_a_transaction_is_open() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        let key = key();
        let lease = granted(&app.store, &key, LONG).await;
        let mut tx = app.paying(level).await;
        app.record(&mut tx, &lease).await.unwrap();
        let duplicate = acquire(&app.store, &key, LONG).await;
        assert!(matches!(duplicate, Ok(Acquired::InFlight { .. })), "{level}: {duplicate:?}");
        tx.commit().await.unwrap();
        let duplicate = acquire(&app.store, &key, LONG).await;
        assert!(matches!(duplicate, Ok(Acquired::Completed { .. })), "{level}: {duplicate:?}");
    }
}

#[tokio::test]
async fn a_lease_that_lapsed_is_not_taken_over_while_its_transaction_is_open() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        for commits in [true, false] {
            let key = key();
            let lease = lapsed(&app.store, &key).await;
            let mut tx = app.paying(level).await;
            app.record(&mut tx, &lease).await.unwrap();
            let takeover = acquire(&app.store, &key, LONG).await;
            assert!(matches!(takeover, Ok(Acquired::InFlight { .. })), "{level}: {takeover:?}");
            if commits {
                tx.commit().await.unwrap();
                let found = acquire(&app.store, &key, LONG).await;
                assert!(matches!(found, Ok(Acquired::Completed { .. })), "{level}: {found:?}");
            } else {
                tx.rollback().await.unwrap();
                assert_eq!(granted(&app.store, &key, LONG).await.attempt, 2, "{level}");
            }
        }
    }
}

/// The engine asks by `release`, and under `halt` by `abandon`, what became of a transaction.
#[tokio::test]
async fn what_gives_a_lease_back_waits_for_its_transaction_and_tells_the_truth() {
    gives_back(Mode::Prepared).await;
}

/// The snapshot of a step that has waited must not be older than what it waited for.
#[tokio::test]
async fn what_gives_a_lease_back_tells_the_truth_where_serializable_is_the_default() {
    gives_back(Mode::Serializable).await;
}

async fn gives_back(mode: Mode) {
    let Some(app) = App::with(mode).await else { return };
    for level in LEVELS {
        for commits in [true, false] {
            for way in ["abandon", "release", "free"] {
                let case = format!("{level}, commits: {commits}, {way}");
                let key = key();
                let lease = granted(&app.store, &key, LONG).await;
                let mut tx = app.paying(level).await;
                app.record(&mut tx, &lease).await.unwrap();
                let given_back = spawn({
                    let (store, lease) = (app.store.clone(), lease.clone());
                    async move {
                        match way {
                            "abandon" => store.abandon(&lease).await,
                            "release" => store.release(&lease, LONG).await,
                            _ => store.free(&lease, LONG).await,
                        }
                    }
                });
                app.somebody_waits().await;
                assert!(!given_back.is_finished(), "{case}");
                // Nor is the heartbeat kept waiting by what waits.
                app.store.renew(&lease, LONG).await.unwrap();
                if commits {
                    tx.commit().await.unwrap();
                } else {
                    tx.rollback().await.unwrap();
                }
                let given_back = given_back.await.unwrap();
                let state = app.store.inspect(&key).await.unwrap();
                if commits {
                    assert!(
                        matches!(given_back, Err(StoreError::LeaseLost)),
                        "{case}: {given_back:?}"
                    );
                    assert!(matches!(state, KeyState::Completed { .. }), "{case}: {state:?}");
                } else {
                    assert!(given_back.is_ok(), "{case}: {given_back:?}");
                    let is = match state {
                        KeyState::Abandoned { .. } => "abandon",
                        KeyState::Released { .. } => "release",
                        KeyState::Absent => "free",
                        other => panic!("{case}: {other:?}"),
                    };
                    assert_eq!(is, way, "{case}");
                }
            }
        }
    }
    assert_eq!(app.payments().await, 9);
}

#[tokio::test]
async fn a_transaction_that_stays_open_leaves_the_outcome_unknown() {
    let Some(app) = App::new().await else { return };
    let lease = granted(&app.store, &key(), LONG).await;
    let mut tx = app.paying(LEVELS[0]).await;
    app.record(&mut tx, &lease).await.unwrap();
    let released = app.store.release(&lease, LONG).await;
    assert!(released.as_ref().is_err_and(StoreError::is_unknown), "{released:?}");
    tx.commit().await.unwrap();
    let released = app.store.release(&lease, LONG).await;
    assert!(matches!(released, Err(StoreError::LeaseLost)), "{released:?}");
}

/// A process that was paused, and whose lease was taken over or given back meanwhile, commits nothing:
/// whether its snapshot is older than the takeover or not.
#[tokio::test]
async fn a_paused_owner_cannot_record_and_commits_nothing() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        for old_snapshot in [true, false] {
            for released in [true, false] {
                let case = format!("{level}, old snapshot: {old_snapshot}, released: {released}");
                let key = key();
                let lease = lapsed(&app.store, &key).await;
                let before = if old_snapshot { Some(app.paying(level).await) } else { None };
                if released {
                    app.store.release(&lease, LONG).await.unwrap();
                } else {
                    granted(&app.store, &key, LONG).await;
                }
                let mut tx = match before {
                    Some(tx) => tx,
                    None => app.paying(level).await,
                };
                let refused = app.record(&mut tx, &lease).await;
                assert!(refused.is_err(), "{case}: {refused:?}");
                // The driver answers Ok to the commit of a transaction that PostgreSQL has aborted.
                let _ = tx.commit().await;
                assert_eq!(app.payments().await, 0, "{case}");
            }
        }
    }
}

/// Id and token are compared.
#[tokio::test]
async fn a_record_of_a_stranger_is_refused() {
    let Some(app) = App::new().await else { return };
    let key = key();
    let lease = granted(&app.store, &key, LONG).await;
    let other = granted(&app.store, &crate::kit::key(), LONG).await;
    for stranger in [
        Lease::new(key, other.id, lease.token, 1),
        Lease::new(key, lease.id, other.token, 1),
        Lease::new(other.key, lease.id, lease.token, 1),
    ] {
        let mut tx = app.paying(LEVELS[0]).await;
        assert_eq!(app.record(&mut tx, &stranger).await, Err("LeaseLost".to_owned()));
        let _ = tx.commit().await;
    }
    assert_eq!(app.payments().await, 0);
    // Not twice either, in one transaction or in two.
    let mut tx = app.paying(LEVELS[0]).await;
    app.record(&mut tx, &lease).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = app.paying(LEVELS[0]).await;
    assert_eq!(app.record(&mut tx, &lease).await, Err("LeaseLost".to_owned()));
}

/// Two owners of one lease cannot both commit: the record is there once.
#[tokio::test]
async fn of_two_transactions_with_one_lease_one_records() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        let lease = granted(&app.store, &key(), LONG).await;
        let (mut one, mut two) = (app.paying(level).await, app.paying(level).await);
        app.record(&mut one, &lease).await.unwrap();
        let (second, ()) = tokio::join!(
            async {
                let second = app.record(&mut two, &lease).await;
                let _ = two.commit().await;
                second
            },
            async {
                app.somebody_waits().await;
                one.commit().await.unwrap();
            }
        );
        assert!(second.is_err(), "{level}");
    }
    assert_eq!(app.payments().await, 3);
}

/// A step in the transaction locks the lease no more than a record does.
#[tokio::test]
async fn a_step_in_a_transaction_keeps_the_heartbeat_going_and_takeover_away() {
    let Some(app) = App::new().await else { return };
    for level in LEVELS {
        let key = key();
        let lease = lapsed(&app.store, &key).await;
        let mut tx = app.paying(level).await;
        Postgres::write_step(&app.store, &mut tx, &lease, "charge", b"7").await.unwrap();
        let takeover = acquire(&app.store, &key, LONG).await;
        assert!(matches!(takeover, Ok(Acquired::InFlight { .. })), "{level}: {takeover:?}");
        app.store.renew(&lease, LONG).await.unwrap();
        app.record(&mut tx, &lease).await.unwrap();
        tx.rollback().await.unwrap();

        let mut tx = app.paying(level).await;
        Postgres::write_step(&app.store, &mut tx, &lease, "charge", b"8").await.unwrap();
        tx.commit().await.unwrap();
        app.store.release(&lease, LONG).await.unwrap();
        let next = granted(&app.store, &key, LONG).await;
        assert_eq!(&next.steps["charge"][..], b"8", "{level}");
        // The name is taken, with whatever value.
        for value in [&b"8"[..], b"9"] {
            let mut tx = app.paying(level).await;
            let refused = Postgres::write_step(&app.store, &mut tx, &next, "charge", value).await;
            assert_eq!(format!("{refused:?}"), "Err(Duplicate)");
            let _ = tx.commit().await;
        }
    }
    assert_eq!(app.payments().await, 3);
}

#[tokio::test]
async fn a_record_in_a_savepoint_is_refused() {
    use idempotent_sqlx::sqlx::Acquire as _;

    let Some(app) = App::new().await else { return };
    let lease = granted(&app.store, &key(), LONG).await;
    let mut tx = app.paying(LEVELS[0]).await;
    let mut nested = tx.begin().await.unwrap();
    let refused = app.record(&mut nested, &lease).await.unwrap_err();
    assert!(refused.contains("Nested"), "{refused}");
    let _ = nested.commit().await;
    let _ = tx.commit().await;
    assert_eq!(app.payments().await, 0);
    app.store.release(&lease, LONG).await.unwrap();
}

#[tokio::test]
async fn what_is_around_a_savepoint_cannot_be_committed_after_a_refusal_in_it() {
    use idempotent_sqlx::sqlx::Acquire as _;

    let Some(app) = App::new().await else { return };
    let lease = granted(&app.store, &key(), LONG).await;
    app.store.release(&lease, LONG).await.unwrap();
    let mut tx = app.paying(LEVELS[0]).await;
    let mut nested = tx.begin().await.unwrap();
    let refused = app.record(&mut nested, &lease).await.unwrap_err();
    assert!(refused.contains("LeaseLost"), "{refused}");
    Postgres::poison(&mut nested).await;
    let _ = nested.rollback().await;
    let _ = tx.commit().await;
    assert_eq!(app.payments().await, 0);
}
