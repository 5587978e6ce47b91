//! Results of steps, kept across processes and their deaths.

use axum::response::IntoResponse as _;
use http::StatusCode;
use idempotent_runtime::StepError;
use idempotent_sqlx::StepIn as _;

use crate::{
    backend::Backend,
    child::{Child, Role},
    ledger::Ledger,
    support::{Handler, Process, assert_replays, failed, processes},
};

over!(Redis, Postgres, Sqlite: who_takes_over_from_a_killed_process_gets_the_step_it_saved);
over!(Postgres, Sqlite: a_step_in_a_transaction_is_kept_when_it_commits_and_run_again_when_not);

async fn who_takes_over_from_a_killed_process_gets_the_step_it_saved<B: Backend>(backend: B) {
    let child = Child::start(&backend, Role::SavedStep).await;
    let handler = Handler::new(|run| async move {
        let step =
            run.attempt.step("charge", async { Ok::<_, StepError>(String::from("charged again")) });
        (StatusCode::CREATED, step.await.unwrap()).into_response()
    });
    let process = Process::new(&backend, &handler).await;
    let waiting = process.begin(Child::KEY);
    child.kill();
    let answer = waiting.answer().await;
    assert_eq!((answer.text(), handler.runs()), ("charged by the child", 1));
}

/// The step's effect and its result are committed together, or neither is.
async fn a_step_in_a_transaction_is_kept_when_it_commits_and_run_again_when_not<L: Ledger>(
    place: L,
) {
    let pool = place.open().await;
    let handler = Handler::new({
        let pool = pool.clone();
        move |run| {
            let pool = pool.clone();
            async move {
                let (nth, key) = (run.nth, run.key.clone());
                let mut tx = L::begin(&pool).await.unwrap();
                let charged = run.attempt.step_in(&mut tx, "charge", |tx| {
                    Box::pin(async move {
                        L::pay(tx, &key).await.unwrap();
                        Ok::<_, StepError>(format!("charged by {nth}"))
                    })
                });
                let charged = charged.await.unwrap();
                if nth == 1 {
                    tx.rollback().await.unwrap();
                    return failed();
                }
                tx.commit().await.unwrap();
                match nth {
                    2 => failed(),
                    _ => (StatusCode::CREATED, charged).into_response(),
                }
            }
        }
    });
    let processes = processes(2, &place, &handler).await;
    for (process, payments) in [(&processes[0], 0), (&processes[1], 1)] {
        assert_eq!(process.pay("k").await.text(), "the bank is closed");
        assert_eq!(L::payments(&pool).await, payments);
    }
    let paid = processes[0].pay("k").await;
    assert_eq!(paid.text(), "charged by 2");
    assert_replays(&processes[1].pay("k").await, &paid);
    assert_eq!((handler.runs(), L::payments(&pool).await), (3, 1));
}
