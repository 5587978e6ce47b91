//! Every way in which the handler's transaction can end.

use http::StatusCode;

use crate::app::{Answer, App, Ledger, OnPostgres, OnSqlite, Script};

const PAID: StatusCode = StatusCode::CREATED;
const NOT_COMMITTED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const FAILED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn answer(status: StatusCode, replayed: bool, body: &str) -> Answer {
    Answer { status, replayed, body: body.to_owned() }
}

/// The first execution's payment is committed: everybody gets its answer.
async fn committed_at_once(app: App<impl Ledger>, script: Script) {
    let first = app.send().await;
    assert_eq!((first.status, &*first.body), (PAID, "paid in execution 1"), "{script:?}");
    let beside = app.beside().await;
    assert_eq!(beside.send().await, answer(PAID, true, "paid in execution 1"), "{script:?}");
    assert_eq!((app.runs(), app.ledger.payments().await), (1, 1), "{script:?}");
}

/// Nothing of the first execution is committed: a retry pays.
async fn committed_by_the_retry(app: App<impl Ledger>, script: Script, first: StatusCode) {
    let answered = app.send().await;
    assert_eq!((answered.status, app.ledger.payments().await), (first, 0), "{script:?}");
    let again = app.beside().await;
    assert_eq!(again.send().await, answer(PAID, false, "paid in execution 2"), "{script:?}");
    assert_eq!(app.send().await, answer(PAID, true, "paid in execution 2"), "{script:?}");
    assert_eq!((app.runs(), app.ledger.payments().await), (2, 1), "{script:?}");
}

async fn every_outcome<L: Ledger>(ledger: impl AsyncFn() -> Option<L>, a_failure_aborts: bool) {
    for script in
        [Script::Commits, Script::CommitsAndFails, Script::CommitsAndPanics, Script::CommitsLater]
    {
        let Some(ledger) = ledger().await else { return };
        committed_at_once(App::new(ledger, script).await, script).await;
    }
    for (script, first) in [
        (Script::RollsBackAndSucceeds, NOT_COMMITTED),
        (Script::RollsBackAndFails, FAILED),
        (Script::RecordsAFailure, NOT_COMMITTED),
        (Script::RecordsTooMuch, NOT_COMMITTED),
        (Script::RollsBackLater, NOT_COMMITTED),
        (Script::RecordsElsewhere, NOT_COMMITTED),
    ] {
        let Some(ledger) = ledger().await else { return };
        committed_by_the_retry(App::new(ledger, script).await, script, first).await;
    }
    let Some(ledger) = ledger().await else { return };
    let script = Script::CommitsWhatFailed;
    let app = App::new(ledger, script).await;
    match a_failure_aborts {
        true => committed_by_the_retry(app, script, NOT_COMMITTED).await,
        false => committed_at_once(app, script).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_on_postgres_is_one_effect_and_one_answer() {
    every_outcome(OnPostgres::new, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_on_sqlite_is_one_effect_and_one_answer() {
    every_outcome(async || Some(OnSqlite::new().await), false).await;
}

async fn a_lost_lease(ledger: impl Ledger) {
    let app = App::new(ledger, Script::LosesItsLease).await;
    let first = app.send().await;
    assert_eq!((first.status, &*first.body), (PAID, "paid by another process"));
    assert_eq!(app.send().await, answer(PAID, true, "paid by another process"));
    assert_eq!((app.runs(), app.ledger.payments().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_lease_commits_nothing_and_answers_what_its_owner_recorded() {
    if let Some(ledger) = OnPostgres::new().await {
        a_lost_lease(ledger).await;
    }
    a_lost_lease(OnSqlite::new().await).await;
}

async fn a_panic(ledger: impl Ledger) {
    let app = App::new(ledger, Script::Panics).await;
    let sending = app.clone();
    assert!(tokio::spawn(async move { sending.send().await }).await.unwrap_err().is_panic());
    assert_eq!(app.ledger.payments().await, 0);
    assert_eq!(app.send().await, answer(PAID, false, "paid in execution 2"));
    assert_eq!(app.ledger.payments().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_open_transaction_rolls_it_back() {
    if let Some(ledger) = OnPostgres::new().await {
        a_panic(ledger).await;
    }
    a_panic(OnSqlite::new().await).await;
}

async fn at_once(ledger: impl Ledger) {
    let one = App::new(ledger, Script::CommitsLater).await;
    let two = one.beside().await;
    let senders: Vec<_> = (0..40)
        .map(|n| {
            let app = if n % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move { app.send_key(&format!("k{}", n / 20)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for sender in senders {
        let answer = sender.await.unwrap();
        assert_eq!(answer.status, PAID);
        answers.push(answer.body);
    }
    for key in answers.chunks(20) {
        assert!(key.iter().all(|body| *body == key[0]), "{key:?}");
    }
    assert_ne!(answers[0], answers[20]);
    assert_eq!((one.runs(), one.ledger.payments().await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_senders_to_two_processes_all_get_the_answer_of_one_payment_for_each_key() {
    if let Some(ledger) = OnPostgres::new().await {
        at_once(ledger).await;
    }
    at_once(OnSqlite::new().await).await;
}

/// A commit that was applied and one that was not look alike to the handler.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_what_the_database_says() {
    let script = Script::LosesTheAnswerOfItsCommit;
    let Some(ledger) = OnPostgres::behind_a_proxy().await else { return };
    committed_at_once(App::new(ledger, script).await, script).await;

    let script = Script::LosesItsConnection;
    let Some(ledger) = OnPostgres::behind_a_proxy().await else { return };
    committed_by_the_retry(App::new(ledger, script).await, script, FAILED).await;
}
