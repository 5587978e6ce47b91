//! How long answers are replayed and keys remembered. Time is tokio's, and exact.

use std::time::Duration;

use axum::{Router, extract::State, routing};
use http::StatusCode;
use idempotent_runtime::{Idempotency, IdempotencyBuilder, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, post};
use tokio::time::advance;

use crate::kit::{
    Effects, Gated, Script, all_wait, every_path, memory, pay, pay_gated, payments, spawn,
};

type Builder = IdempotencyBuilder<MemoryStore>;

const INSTANT: Duration = Duration::from_nanos(1);

async fn ask(app: &Router) -> Answer {
    post("/payments").key("k").send(app).await
}

#[idempotent(key = header("Idempotency-Key"), ttl = "250ms")]
async fn briefly(State(effects): State<Effects>) -> String {
    effects.happen().to_string()
}

#[idempotent(key = header("Idempotency-Key"), ttl = "90s")]
async fn a_while(State(effects): State<Effects>) -> String {
    effects.happen().to_string()
}

#[idempotent(key = header("Idempotency-Key"), ttl = "30 days")]
async fn long(State(effects): State<Effects>) -> String {
    effects.happen().to_string()
}

/// CASES 8, 34: a record is replayed up to its last instant and not at it, whether the ttl is less
/// than a second or a month.
#[tokio::test(start_paused = true)]
async fn a_record_is_replayed_until_the_very_instant_of_its_expiry() {
    for (_, runtime) in every_path() {
        let brief = payments(&runtime, Effects::default(), briefly);
        exactly(&brief, Duration::from_millis(250)).await;
    }
    for (_, runtime) in every_path() {
        exactly(&payments(&runtime, Effects::default(), a_while), Duration::from_secs(90)).await;
    }
    for (_, runtime) in every_path() {
        let days = Duration::from_hours(30 * 24);
        exactly(&payments(&runtime, Effects::default(), long), days).await;
    }
    for (_, runtime) in every_path() {
        let default = Duration::from_hours(24);
        exactly(&payments(&runtime, Effects::default(), pay), default).await;
    }
}

async fn exactly(app: &Router, ttl: Duration) {
    let first = ask(app).await;
    assert!(ask(app).await.is_replayed());
    advance(ttl.checked_sub(INSTANT).unwrap()).await;
    let last = ask(app).await;
    assert!(last.is_replayed() && last.body == first.body, "{ttl:?}");
    advance(INSTANT).await;
    let anew = ask(app).await;
    assert!(!anew.is_replayed() && anew.body != first.body, "{ttl:?}");
}

/// CASES 9: what would protect nothing is no setting.
#[tokio::test]
async fn a_lease_or_ttl_of_nothing_is_refused() {
    type Set = fn(Builder, Duration) -> Builder;
    let set: [(&str, Set); 4] = [
        ("lease", Builder::lease),
        ("ttl", Builder::ttl),
        ("store_timeout", Builder::store_timeout),
        ("max_run", Builder::max_run),
    ];
    for (name, set) in set {
        let build = |time| set(Idempotency::builder(MemoryStore::new()), time).build();
        for nothing in [Duration::ZERO, Duration::from_micros(999)] {
            let error = build(nothing).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("1 ms"), "{error}");
        }
        assert!(build(Duration::from_millis(1)).is_ok());
        assert!(build(Duration::MAX).is_ok());
    }
}

/// A time that nobody lives to see ends nothing early, and overflows nowhere.
#[tokio::test(start_paused = true)]
async fn the_longest_times_are_no_times_at_all() {
    let runtime = Idempotency::builder(MemoryStore::new())
        .lease(Duration::MAX)
        .wait(Duration::MAX)
        .ttl(Duration::MAX)
        .store_timeout(Duration::MAX)
        .max_run(Duration::MAX)
        .build()
        .unwrap();
    let gated = Gated::default();
    let app = payments(&runtime, gated.clone(), pay_gated);
    let first = spawn(&app, post("/payments").key("k"));
    gated.gate.reached().await;
    let waiting = spawn(&app, post("/payments").key("k"));
    all_wait().await;
    gated.gate.open();
    assert_eq!(first.await.unwrap().text(), "payment 1");
    assert_eq!(waiting.await.unwrap().text(), "payment 1");
    advance(Duration::from_hours(24 * 365)).await;
    assert!(ask(&app).await.is_replayed());
}

/// Counted from completion: neither a slow handler nor a replay moves it.
#[tokio::test(start_paused = true)]
async fn the_ttl_begins_with_completion_and_a_replay_does_not_extend_it() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "60s")]
    async fn slow(State(effects): State<Effects>) -> String {
        tokio::time::sleep(Duration::from_secs(50)).await;
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), slow);
    ask(&app).await;
    advance(Duration::from_secs(59)).await;
    assert!(ask(&app).await.is_replayed());
    advance(Duration::from_secs(1)).await;
    assert!(!ask(&app).await.is_replayed());
}

/// CASES 11: two handlers on one store, each with its own options.
#[tokio::test(start_paused = true)]
async fn options_belong_to_the_handler_and_not_to_the_store() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "1h", record = success)]
    async fn short(State(script): State<Script>) -> axum::response::Response {
        script.run()
    }
    #[idempotent(key = header("Idempotency-Key"), ttl = "2h", record = all)]
    async fn long(State(script): State<Script>) -> axum::response::Response {
        script.run()
    }
    let script = Script::new(|number| match number {
        1 | 2 => (StatusCode::NOT_FOUND, number.to_string()),
        _ => (StatusCode::OK, number.to_string()),
    });
    let app = Router::new()
        .route("/short", routing::post(short))
        .route("/long", routing::post(long))
        .layer(axum::Extension(memory()))
        .with_state(script);
    let ask = async |path| post(path).key("k").send(&app).await;

    assert_eq!(ask("/long").await.text(), "1");
    assert_eq!(ask("/short").await.text(), "2");
    assert!(ask("/long").await.is_replayed(), "`all` records a 404");
    assert_eq!(ask("/short").await.text(), "3", "`success` does not");
    advance(Duration::from_hours(1)).await;
    assert!(ask("/long").await.is_replayed());
    assert_eq!(ask("/short").await.text(), "4");
    advance(Duration::from_hours(1)).await;
    assert_eq!(ask("/long").await.text(), "5");
}

/// A key that was released is remembered as long as a record would be, then it is a new one.
#[tokio::test(start_paused = true)]
async fn a_released_key_is_remembered_for_the_ttl() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "60s")]
    async fn create(State(script): State<Script>) -> axum::response::Response {
        script.run()
    }
    let runtime = memory();
    let app = payments(&runtime, Script::new(|_| StatusCode::SERVICE_UNAVAILABLE), create);
    let state = async || runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
    ask(&app).await;
    advance(Duration::from_mins(1).checked_sub(INSTANT).unwrap()).await;
    assert!(matches!(state().await, KeyState::Released { attempt: 1, .. }));
    advance(INSTANT).await;
    assert!(matches!(state().await, KeyState::Absent));
}

/// An expired key belongs to nobody: another request may have it.
#[tokio::test(start_paused = true)]
async fn an_expired_key_may_be_used_for_another_request() {
    for (path, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), briefly);
        let ask = async |body| post("/payments").key("k").body(body).send(&app).await;
        ask("a").await;
        ask("b").await.assert_problem(422, "key_reused");
        advance(Duration::from_millis(250)).await;
        assert_eq!(ask("b").await.status, StatusCode::OK, "{path}");
        ask("a").await.assert_problem(422, "key_reused");
    }
}
