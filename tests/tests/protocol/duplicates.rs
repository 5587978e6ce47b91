//! Duplicates in one process: one runs, the others share its outcome or give up in time.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use idempotent_runtime::{DoNotRecord, Idempotency, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, Fault, Faulty, Gate, Step, post};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance},
};

use crate::kit::{
    Effects, End, Frames, Gated, all_wait, every_path, hang_up, memory, pay, pay_gated, payments,
    spawn,
};

fn clients<const N: usize>(app: &Router) -> [JoinHandle<Answer>; N] {
    std::array::from_fn(|_| spawn(app, post("/payments").key("k").body("a")))
}

async fn answers<const N: usize>(clients: [JoinHandle<Answer>; N]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers
}

/// CASES 7, 27: eight at once are one effect and one answer.
#[tokio::test(start_paused = true)]
async fn eight_at_once_have_one_effect_and_get_one_answer() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let clients = clients::<8>(&app);
        all_wait().await;
        gated.gate.open();
        let answers = answers(clients).await;
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), answer.text()), (201, "payment 1"), "{path}");
        }
        let executed = answers.iter().filter(|answer| !answer.is_replayed()).count();
        assert_eq!((executed, gated.effects.count()), (1, 1), "{path}");
    }
}

/// CASES 27: also when they run in threads of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_keys_with_eight_clients_each_in_parallel_have_one_effect_each() {
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = payments(&runtime, effects.clone(), pay);
        let mut clients = Vec::new();
        for key in 0..100 {
            for _ in 0..8 {
                let request = post("/payments").key(&format!("key-{key}"));
                clients.push((key, spawn(&app, request)));
            }
        }
        let mut first: Vec<Option<Answer>> = vec![None; 100];
        for (key, client) in clients {
            let answer = client.await.unwrap();
            assert_eq!(answer.status, 201, "{path}: {answer:?}");
            let first = first[key].get_or_insert_with(|| answer.clone());
            assert_eq!((answer.status, answer.body), (first.status, first.body.clone()));
        }
        assert_eq!(effects.count(), 100, "{path}");
    }
}

#[idempotent(key = header("Idempotency-Key"), wait = "0s")]
async fn impatient(State(gated): State<Gated>) -> (StatusCode, String) {
    gated.pay().await
}

#[tokio::test(start_paused = true)]
async fn with_no_patience_a_duplicate_is_told_at_once_that_the_first_is_running() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), impatient);
        let [first] = clients(&app);
        gated.gate.reached().await;
        let before = Instant::now();
        for duplicate in answers(clients::<3>(&app)).await {
            duplicate.assert_problem(409, "in_progress");
            assert_eq!(duplicate.header("retry-after"), "1");
        }
        assert_eq!(Instant::now(), before, "{path}");
        gated.gate.open();
        assert_eq!(first.await.unwrap().text(), "payment 1");
        // CASES 7: what is in memory is not reported as in progress.
        assert!(post("/payments").key("k").body("a").send(&app).await.is_replayed(), "{path}");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 7, 14: retries that ask the store at once are told of the record, not of each other.
#[tokio::test(start_paused = true)]
async fn with_no_patience_a_duplicate_is_told_of_a_record_rather_than_of_a_race() {
    let store = Faulty::new(MemoryStore::new());
    let gated = Gated::default();
    let app = payments(&Idempotency::new(store.clone()), gated.clone(), impatient);
    gated.gate.open();
    let [first] = clients(&app);
    assert_eq!(first.await.unwrap().text(), "payment 1");
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let retries = clients::<3>(&app);
    gate.reached().await;
    all_wait().await;
    gate.open();
    for retry in answers(retries).await {
        assert!(retry.is_replayed() && retry.text() == "payment 1", "{retry:?}");
    }
}

#[idempotent(key = header("Idempotency-Key"), wait = "2s", lease = "5s")]
async fn patient(State(gated): State<Gated>) -> (StatusCode, String) {
    gated.pay().await
}

/// CASES 16: running out of patience changes nothing for the owner.
#[tokio::test(start_paused = true)]
async fn a_duplicate_that_runs_out_of_patience_leaves_the_lease_alone() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), patient);
        let state = async || runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        let [first] = clients(&app);
        gated.gate.reached().await;
        let KeyState::Leased { token: owner, .. } = state().await else { panic!() };

        let before = Instant::now();
        for duplicate in answers(clients::<3>(&app)).await {
            duplicate.assert_problem(409, "in_progress");
        }
        let waited = before.elapsed();
        let patience = Duration::from_secs(2);
        assert!(waited >= patience && waited < patience + Duration::from_millis(5), "{waited:?}");
        assert!(
            matches!(state().await, KeyState::Leased { token, attempt: 1, .. } if token == owner),
            "{path}"
        );
        gated.gate.open();
        assert_eq!(first.await.unwrap().text(), "payment 1");
        assert!(post("/payments").key("k").body("a").send(&app).await.is_replayed(), "{path}");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 12: a running handler holds its key by a short lease, which a crash would leave behind, and
/// not for the ttl of its record.
#[tokio::test(start_paused = true)]
async fn a_claim_lasts_as_long_as_its_lease_and_not_as_its_ttl() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "7 days", lease = "800ms")]
    async fn brief(State(gated): State<Gated>) -> (StatusCode, String) {
        gated.pay().await
    }
    let lease_of = async |app: &Router, gated: &Gated, runtime: &Idempotency| {
        let [client] = clients(app);
        gated.gate.reached().await;
        let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        gated.gate.open();
        client.await.unwrap();
        let KeyState::Leased { expires_in, .. } = state else { panic!("{state:?}") };
        expires_in
    };
    let (runtime, gated) = (memory(), Gated::default());
    let app = payments(&runtime, gated.clone(), brief);
    assert_eq!(lease_of(&app, &gated, &runtime).await, Duration::from_millis(800));
    let runtime = memory();
    let app = payments(&runtime, gated.clone(), pay_gated);
    assert_eq!(lease_of(&app, &gated, &runtime).await, Duration::from_secs(30), "the default");
}

/// CASES 8: a lease of less than a second is renewed in time, as often as it takes.
#[tokio::test(start_paused = true)]
async fn a_sub_second_lease_lasts_as_long_as_its_handler() {
    #[idempotent(key = header("Idempotency-Key"), lease = "90ms", wait = "0s")]
    async fn brief(State(gated): State<Gated>) -> (StatusCode, String) {
        gated.pay().await
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), brief);
    let [first] = clients(&app);
    gated.gate.reached().await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(41)).await;
        let [duplicate] = clients(&app);
        duplicate.await.unwrap().assert_problem(409, "in_progress");
    }
    gated.gate.open();
    assert_eq!(first.await.unwrap().text(), "payment 1");
}

/// Those who waited share an answer that is not recorded too; who comes after them runs it again.
#[tokio::test(start_paused = true)]
async fn a_transient_outcome_is_shared_by_those_who_waited_and_by_nobody_else() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(gated): State<Gated>) -> (StatusCode, HeaderMap, String) {
        let mut headers = HeaderMap::new();
        headers.insert("x-try", HeaderValue::from_static("later"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        (StatusCode::SERVICE_UNAVAILABLE, headers, gated.pay().await.1)
    }
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), create);
        let clients = clients::<8>(&app);
        all_wait().await;
        gated.gate.open();
        for (at, answer) in answers(clients).await.iter().enumerate() {
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "payment 1"), "{path}");
            assert_eq!(answer.header("x-try"), "later");
            assert!(!answer.is_replayed(), "it is not recorded");
            assert_eq!(answer.headers.contains_key("set-cookie"), at == 0);
        }
        gated.gate.open();
        let next = post("/payments").key("k").body("a").send(&app).await;
        assert_eq!(next.text(), "payment 2", "{path}");
    }
}

/// The same for a final status that the handler does not want to keep.
#[tokio::test(start_paused = true)]
async fn an_answer_marked_do_not_record_is_shared_by_those_who_waited() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(gated): State<Gated>) -> (StatusCode, DoNotRecord, String) {
        (StatusCode::NOT_FOUND, DoNotRecord, gated.pay().await.1)
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), create);
    let clients = clients::<3>(&app);
    all_wait().await;
    gated.gate.open();
    for answer in answers(clients).await {
        assert_eq!((answer.status.as_u16(), answer.text()), (404, "payment 1"));
    }
}

/// CASES 65: an outcome that cannot be shared: those who waited are told that it was executed, or, where
/// it is not final, to ask again; and do not run it.
#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_body_that_breaks_do_not_run_it() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State((gated, status)): State<(Gated, StatusCode)>) -> Response {
        gated.pay().await;
        (status, Frames::body(&["half"], End::Error)).into_response()
    }
    for (status, code) in
        [(StatusCode::CREATED, "not_replayable"), (StatusCode::BAD_GATEWAY, "in_progress")]
    {
        let gated = Gated::default();
        let app = payments(&memory(), (gated.clone(), status), create);
        let broken = tokio::spawn({
            let app = app.clone();
            async move { post("/payments").key("k").body("a").response(&app).await.status() }
        });
        gated.gate.reached().await;
        let waiting = clients::<3>(&app);
        all_wait().await;
        gated.gate.open();
        for answer in answers(waiting).await {
            answer.assert_problem(409, code);
        }
        assert_eq!(broken.await.unwrap(), status);
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 25: a lease that lapses while duplicates wait, because its request is gone: one of them takes
/// it over, and the others get the record of that one.
#[tokio::test(start_paused = true)]
async fn one_of_those_who_wait_takes_over_when_the_owner_is_gone() {
    #[idempotent(key = header("Idempotency-Key"), lease = "3s", spawn = false)]
    async fn create(State(gated): State<Gated>) -> (StatusCode, String) {
        gated.pay().await
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), create);
    let [first] = clients(&app);
    gated.gate.reached().await;
    let waiting = clients::<4>(&app);
    all_wait().await;
    hang_up(first).await;
    gated.gate.open();
    for answer in answers(waiting).await {
        assert_eq!((answer.status.as_u16(), answer.text()), (201, "payment 1"));
    }
    assert_eq!(gated.effects.count(), 1);
    advance(Duration::from_mins(1)).await;
    assert!(post("/payments").key("k").body("a").send(&app).await.is_replayed());
}
