//! What a handler can ask about its own execution.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{self, FromRequest, FromRequestParts as _, State},
    routing,
};
use http::StatusCode;
use idempotent_runtime::{Attempt, FencingToken, Guarded, Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Answer, Faulty, Request, post};
use tokio::time::sleep;

use crate::kit::{Effects, User, every_path, memory, payments};

/// What one execution was told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    number: u32,
    is_recovery: bool,
    is_guarded: bool,
    token: Option<FencingToken>,
    downstream: [String; 2],
}

type Log = Arc<Mutex<Vec<Told>>>;

fn told(attempt: &Attempt) -> Told {
    Told {
        number: attempt.number(),
        is_recovery: attempt.is_recovery(),
        is_guarded: attempt.is_guarded(),
        token: attempt.fencing_token(),
        downstream: ["stripe", "mail"].map(|name| attempt.downstream_key(name)),
    }
}

/// Fails twice.
#[idempotent(key = header("Idempotency-Key"), scope = user.0)]
async fn log(State(log): State<Log>, attempt: Attempt, user: User) -> StatusCode {
    drop(user);
    let mut log = log.lock().unwrap();
    log.push(told(&attempt));
    if log.len() < 3 { StatusCode::BAD_GATEWAY } else { StatusCode::CREATED }
}

async fn logged(app: &Router, log: &Log, request: Request) -> Told {
    request.send(app).await;
    log.lock().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn attempts_count_up_with_growing_tokens_and_stable_downstream_keys() {
    for (path, runtime) in every_path() {
        let entries = Log::default();
        let app = payments(&runtime, entries.clone(), log);
        let ask = || post("/payments").key("k");
        let one = logged(&app, &entries, ask()).await;
        let two = logged(&app, &entries, ask()).await;
        let three = logged(&app, &entries, ask()).await;
        assert_eq!([one.number, two.number, three.number], [1, 2, 3], "{path}");
        assert_eq!([one.is_recovery, two.is_recovery, three.is_recovery], [false, true, true]);
        assert!(one.is_guarded && two.is_guarded && three.is_guarded);
        assert!(one.token.is_some() && one.token < two.token && two.token < three.token, "{path}");
        assert_eq!(one.downstream, two.downstream);
        assert_eq!(one.downstream, three.downstream);

        assert!(ask().send(&app).await.is_replayed());
        assert_eq!(entries.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn downstream_keys_differ_by_name_key_scope_and_operation() {
    let runtime = memory();
    let entries = Log::default();
    let app = Router::new()
        .route("/payments", routing::post(log))
        .route("/refunds", routing::post(log))
        .layer(axum::Extension(runtime))
        .with_state(entries.clone());
    let requests = [
        post("/payments").key("k"),
        post("/payments").key("l"),
        post("/payments").key("k").header("x-user", "ada"),
        post("/refunds").key("k"),
    ];
    let mut keys = Vec::new();
    for request in requests {
        keys.extend(logged(&app, &entries, request).await.downstream);
    }
    for key in &keys {
        assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 8);
}

/// CASES 73: a client's key that is used again after its record expired is a new operation downstream
/// too, for whoever remembers the first one longer.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_again_after_its_ttl_has_another_downstream_key() {
    for (_, runtime) in every_path() {
        let entries = Log::default();
        let app = payments(&runtime, entries.clone(), log);
        let request = || post("/payments").key("k");
        let first = logged(&app, &entries, request()).await.downstream;
        tokio::time::advance(std::time::Duration::from_hours(24)).await;
        let second = logged(&app, &entries, request()).await.downstream;
        assert_ne!(first, second);
    }
}

/// An attempt that nothing guards says so, and its downstream keys are those of no other.
#[tokio::test]
async fn without_an_optional_key_nothing_is_guarded() {
    #[idempotent(key = header("Idempotency-Key"), optional)]
    async fn create(State(log): State<Log>, attempt: Attempt) {
        log.lock().unwrap().push(told(&attempt));
        assert_eq!(told(&attempt), told(&attempt), "stable within an execution");
    }
    let log = Log::default();
    let app = payments(&memory(), log.clone(), create);
    let unguarded =
        [logged(&app, &log, post("/payments")).await, logged(&app, &log, post("/payments")).await];
    for told in &unguarded {
        assert_eq!((told.number, told.is_recovery, told.is_guarded), (1, false, false));
        assert_eq!(told.token, None);
    }
    assert_ne!(unguarded[0].downstream, unguarded[1].downstream);
    assert!(logged(&app, &log, post("/payments").key("k")).await.is_guarded);
}

/// The attempt may stand anywhere among the arguments, also more than once.
#[tokio::test]
async fn an_attempt_may_be_any_argument() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn first(attempt: Attempt, State(()): State<()>, body: String) -> String {
        format!("{} {body}", attempt.is_guarded())
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn last(State(()): State<()>, attempt: Attempt) -> String {
        attempt.is_guarded().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn only(attempt: Attempt) -> String {
        attempt.is_guarded().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn both(one: Attempt, two: Attempt) -> String {
        format!("{}", one.is_guarded() && one.fencing_token() == two.fencing_token())
    }
    async fn elsewhere(attempt: Attempt) -> String {
        format!("{} {:?}", attempt.is_guarded(), attempt.fencing_token())
    }
    let app = Router::new()
        .route("/first", routing::post(first))
        .route("/last", routing::post(last))
        .route("/only", routing::post(only))
        .route("/both", routing::post(both))
        .route("/elsewhere", routing::post(elsewhere))
        .layer(axum::Extension(memory()));
    let ask = async |path| -> Answer { post(path).key("k").body("b").send(&app).await };
    assert_eq!(ask("/first").await.text(), "true b");
    assert_eq!(ask("/last").await.text(), "true");
    assert_eq!(ask("/only").await.text(), "true");
    assert_eq!(ask("/both").await.text(), "true");
    assert_eq!(ask("/elsewhere").await.text(), "false None", "outside of a guarded handler");
}

/// An attempt is owned: it may go into tasks of the handler.
#[tokio::test]
async fn an_attempt_may_be_moved_into_the_work_of_the_handler() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(attempt: Attempt) -> String {
        let work = tokio::spawn(async move { attempt.number().to_string() });
        work.await.unwrap()
    }
    let app = payments(&memory(), (), create);
    assert_eq!(post("/payments").key("k").send(&app).await.text(), "1");
}

/// A unit test calls a handler like a function and gets its own return value.
#[tokio::test]
async fn a_guarded_handler_can_be_called_directly() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(
        State(effects): State<Effects>,
        Json(amount): Json<u32>,
    ) -> Result<(StatusCode, Json<u32>), String> {
        effects.happen();
        if amount == 0 {
            return Err("nothing to pay".into());
        }
        Ok((StatusCode::CREATED, Json(amount)))
    }
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn without_arguments() -> &'static str {
        "nothing"
    }
    let effects = Effects::default();
    let call = async |amount| {
        create(State(effects.clone()), Guarded::unguarded(Json(amount))).await.direct()
    };
    let (status, Json(paid)) = call(5).await.unwrap();
    assert_eq!((status, paid), (StatusCode::CREATED, 5));
    assert_eq!(call(0).await.unwrap_err(), "nothing to pay");
    assert_eq!(effects.count(), 2, "every call runs");
    assert_eq!(without_arguments(Guarded::unguarded(())).await.direct(), "nothing");
}

/// A short lease that begins beside a long one is renewed as often as it needs, whichever came first.
#[tokio::test(start_paused = true)]
async fn a_short_lease_beside_a_long_one_is_kept() {
    async fn keep(attempt: Attempt) -> &'static str {
        tokio::select! {
            () = attempt.lease_lost() => "lost",
            () = sleep(Duration::from_secs(20)) => "kept",
        }
    }
    #[idempotent(key = header("Idempotency-Key"), lease = "1h", spawn = false)]
    async fn long(attempt: Attempt) -> &'static str {
        keep(attempt).await
    }
    #[idempotent(key = header("Idempotency-Key"), lease = "3s", spawn = false)]
    async fn short(attempt: Attempt) -> &'static str {
        keep(attempt).await
    }
    let app = Router::new()
        .route("/long", routing::post(long))
        .route("/short", routing::post(short))
        .layer(Extension(memory()));
    for paths in [["/long", "/short"], ["/short", "/long"]] {
        let [one, two] = paths.map(|path| post(path).key(&paths.concat()).send(&app));
        let later = async {
            sleep(Duration::from_secs(2)).await;
            two.await
        };
        let (one, two) = tokio::join!(one, later);
        assert_eq!([one.text(), two.text()], ["kept", "kept"], "{paths:?}");
    }
}

/// CASES 78: nothing of a request, its engine or its store stays behind in the thread that served it.
#[tokio::test]
async fn an_application_that_is_dropped_is_gone() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn first(attempt: Attempt, Json(amount): Json<u32>) -> String {
        format!("{} {amount}", attempt.number())
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn last(attempt: Attempt) -> String {
        attempt.number().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn panics(attempt: Attempt, _: Panics) -> String {
        attempt.number().to_string()
    }
    let store = Faulty::new(MemoryStore::new());
    let app = Router::new()
        .route("/first", routing::post(first))
        .route("/last", routing::post(last))
        .route("/panics", routing::post(panics))
        .layer(Extension(Idempotency::new(store.clone())));
    let json = |path| post(path).key(path).json(&serde_json::json!(7));
    assert_eq!(json("/first").send(&app).await.text(), "1 7");
    assert_eq!(json("/last").send(&app).await.text(), "1");
    let serving = app.clone();
    let panicking = tokio::spawn(async move { json("/panics").send(&serving).await });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(json("/first").send(&app).await.text(), "1 7");
    assert!(store.holders() > 1);
    drop(app);
    assert_eq!(store.holders(), 1);
}

/// Asks for its attempt, and panics.
struct Panics;

impl<S: Send + Sync> FromRequest<S> for Panics {
    type Rejection = Infallible;

    async fn from_request(request: extract::Request, state: &S) -> Result<Self, Infallible> {
        let (mut parts, _) = request.into_parts();
        Attempt::from_request_parts(&mut parts, state).await?;
        panic!("an extractor that panics")
    }
}
