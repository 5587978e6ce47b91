//! Outcomes recorded in the handler's own transaction. An effect is a row beside the records.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use idempotent_runtime::{Idempotency, RecordError, Recorded};
use idempotent_sqlx::sqlx::Pool;
use idempotent_tests::Answer;
use tokio::{runtime::Builder, sync::Semaphore, task::spawn_blocking};

use crate::{
    child::{Child, Role},
    ledger::{Ledger, Tx, pay_and_record},
    support::{Handler, Process, Run, assert_paid, assert_replays, failed, in_time, processes},
};

over!(Postgres, Sqlite: what_was_committed_is_the_answer_everywhere,
    success_after_a_rollback_is_not_committed_and_the_retry_runs,
    a_failure_after_a_rollback_is_its_own_and_the_retry_runs,
    a_failure_or_a_panic_after_the_commit_is_answered_with_what_was_committed,
    a_paused_owner_cannot_commit_what_another_has_done,
    killed_before_the_commit_it_is_run_again,
    killed_after_the_commit_it_is_answered);

/// A handler that pays and records in a transaction, and ends as told.
fn recording<L, E, F>(pool: &Pool<L::Db>, end: E) -> Handler
where
    L: Ledger,
    E: Fn(Run, Tx<L>, Result<Recorded<Response>, RecordError>) -> F,
    E: Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let pool = pool.clone();
    Handler::new(move |run| {
        let (pool, end) = (pool.clone(), end.clone());
        async move {
            let mut tx = L::begin(&pool).await.unwrap();
            let recorded = pay_and_record::<L>(&mut tx, &run).await;
            end(run, tx, recorded).await
        }
    })
}

async fn what_was_committed_is_the_answer_everywhere<L: Ledger>(place: L) {
    let pool = place.open().await;
    let handler = recording::<L, _, _>(&pool, |_, tx, recorded| async move {
        tx.commit().await.unwrap();
        recorded.unwrap().into_response()
    });
    let processes = processes(2, &place, &handler).await;
    let first = processes[0].pay("k").await;
    assert_paid(&first, 1, 1);
    for process in &processes {
        assert_replays(&process.pay("k").await, &first);
    }
    assert_eq!((handler.runs(), L::payments(&pool).await), (1, 1));
}

/// CASE 45.
async fn success_after_a_rollback_is_not_committed_and_the_retry_runs<L: Ledger>(place: L) {
    let pool = place.open().await;
    let handler = recording::<L, _, _>(&pool, |run, tx, recorded| async move {
        match run.nth {
            1 => tx.rollback().await.unwrap(),
            // Dropped: rolled back as soon as the connection is free.
            2 => drop(tx),
            _ => tx.commit().await.unwrap(),
        }
        recorded.unwrap().into_response()
    });
    let processes = processes(2, &place, &handler).await;
    for process in &processes {
        process.pay("k").await.assert_problem(500, "not_committed");
    }
    let paid = processes[0].pay("k").await;
    assert_paid(&paid, 3, 3);
    assert_replays(&processes[1].pay("k").await, &paid);
    assert_eq!(L::payments(&pool).await, 1);
}

async fn a_failure_after_a_rollback_is_its_own_and_the_retry_runs<L: Ledger>(place: L) {
    let pool = place.open().await;
    let handler = recording::<L, _, _>(&pool, |run, tx, recorded| async move {
        if run.nth == 1 {
            tx.rollback().await.unwrap();
            return failed();
        }
        tx.commit().await.unwrap();
        recorded.unwrap().into_response()
    });
    let processes = processes(2, &place, &handler).await;
    assert_eq!(processes[0].pay("k").await.text(), "the bank is closed");
    assert_paid(&processes[1].pay("k").await, 2, 2);
    assert_eq!(L::payments(&pool).await, 1);
}

/// CASE 45.
async fn a_failure_or_a_panic_after_the_commit_is_answered_with_what_was_committed<L: Ledger>(
    place: L,
) {
    let pool = place.open().await;
    let handler = recording::<L, _, _>(&pool, |run, tx, recorded| async move {
        tx.commit().await.unwrap();
        assert_ne!(run.key, "panics", "on purpose");
        drop(recorded);
        failed()
    });
    let processes = processes(2, &place, &handler).await;
    for (nth, key) in ["fails", "panics"].into_iter().enumerate() {
        let receipt = format!("payment {}, attempt 1", nth + 1);
        for process in &processes {
            assert_eq!(process.pay(key).await.text(), receipt);
        }
    }
    assert_eq!((handler.runs(), L::payments(&pool).await), (2, 2));
}

/// A process of one thread stops as a whole, so that nothing renews its lease; it goes on when another
/// has done its work. Its transaction is refused, and committing it all the same commits nothing.
///
/// CASES 15, 41.
async fn a_paused_owner_cannot_commit_what_another_has_done<L: Ledger>(place: L) {
    const LEASE: Duration = Duration::from_millis(500);
    let pool = place.open().await;
    let place = Arc::new(place);
    let stopped = Arc::new(Semaphore::new(0));
    let (go_on, goes_on) = mpsc::channel();
    let paused = thread::spawn({
        let (place, stopped) = (Arc::clone(&place), Arc::clone(&stopped));
        move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(late_owner::<L>(&place, LEASE, stopped, goes_on))
        }
    });
    in_time(stopped.acquire()).await.unwrap().forget();
    let handler = recording::<L, _, _>(&pool, |_, tx, recorded| async move {
        tx.commit().await.unwrap();
        recorded.unwrap().into_response()
    });
    let settings = Idempotency::builder(place.connect().await).lease(LEASE);
    let second = Process::with(settings, &handler).pay("k").await;
    assert_paid(&second, 1, 2);
    go_on.send(()).unwrap();
    let (first, was_refused) = spawn_blocking(|| paused.join().unwrap()).await.unwrap();
    assert!(was_refused);
    assert_eq!(first.text(), second.text());
    assert_eq!(L::payments(&pool).await, 1);
}

/// The answer it gives, and whether its record was refused because the lease was lost.
async fn late_owner<L: Ledger>(
    place: &L,
    lease: Duration,
    stopped: Arc<Semaphore>,
    goes_on: mpsc::Receiver<()>,
) -> (Answer, bool) {
    let (pool, goes_on) = (place.pool(), Arc::new(Mutex::new(goes_on)));
    let was_refused = Arc::new(AtomicBool::new(false));
    let refused = Arc::clone(&was_refused);
    let handler = Handler::new(move |run| {
        let (pool, refused) = (pool.clone(), Arc::clone(&refused));
        stopped.add_permits(1);
        goes_on.lock().unwrap().recv().unwrap();
        async move {
            let mut tx = L::begin(&pool).await.unwrap();
            let recorded = pay_and_record::<L>(&mut tx, &run).await;
            refused.store(matches!(recorded, Err(RecordError::LeaseLost)), Ordering::SeqCst);
            // PostgreSQL says that all is well, SQLite that it is not.
            let _ = tx.commit().await;
            run.paid()
        }
    });
    let settings = Idempotency::builder(place.connect().await).lease(lease);
    let answer = Process::with(settings, &handler).pay("k").await;
    (answer, was_refused.load(Ordering::SeqCst))
}

async fn killed_before_the_commit_it_is_run_again<L: Ledger>(place: L) {
    let pool = place.open().await;
    let handler = recording::<L, _, _>(&pool, |_, tx, recorded| async move {
        tx.commit().await.unwrap();
        recorded.unwrap().into_response()
    });
    let process = Process::new(&place, &handler).await;
    Child::start(&place, Role::Recorded).await.kill();
    assert_eq!(process.pay(Child::KEY).await.text(), "payment 1, attempt 2");
    assert_eq!((handler.runs(), L::payments(&pool).await), (1, 1));
}

async fn killed_after_the_commit_it_is_answered<L: Ledger>(place: L) {
    let pool = place.open().await;
    let child = Child::start(&place, Role::Committed).await;
    let handler = Handler::pays();
    let process = Process::new(&place, &handler).await;
    // At once, whether its process lives or not.
    for _ in 0..2 {
        let answer = process.pay(Child::KEY).await;
        assert_eq!((answer.text(), answer.is_replayed()), ("payment 1, attempt 1", true));
    }
    child.kill();
    assert!(process.pay(Child::KEY).await.is_replayed());
    assert_eq!((handler.runs(), L::payments(&pool).await), (0, 1));
}
