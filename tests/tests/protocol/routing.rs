//! Which operation a request is, and which runtime guards it.

use axum::{
    Extension, Router,
    extract::{FromRef, State},
    routing,
};
use idempotent_runtime::{Idempotency, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, post};

use crate::kit::{Effects, memory, pay};

#[idempotent(key = header("Idempotency-Key"), operation = "pay")]
async fn named(State(effects): State<Effects>) -> String {
    format!("payment {}", effects.happen())
}

async fn ask(app: &Router, path: &str) -> Answer {
    post(path).key("k").send(app).await
}

fn guarded(app: Router<Effects>) -> (Router, Effects) {
    let effects = Effects::default();
    (app.layer(Extension(memory())).with_state(effects.clone()), effects)
}

/// CASES 38: one handler at two routes is two operations.
#[tokio::test]
async fn a_handler_mounted_twice_has_the_keys_of_each_route() {
    let (app, effects) =
        guarded(Router::new().route("/a", routing::post(pay)).route("/b", routing::post(pay)));
    assert_eq!(ask(&app, "/a").await.text(), "payment 1");
    assert_eq!(ask(&app, "/b").await.text(), "payment 2");
    assert!(ask(&app, "/a").await.is_replayed());
    assert!(ask(&app, "/b").await.is_replayed());
    assert_eq!(effects.count(), 2);
}

/// CASES 38: so is one router nested twice, although the handler sees the same path in both.
#[tokio::test]
async fn a_router_nested_twice_has_the_keys_of_each_place() {
    let inner = || Router::new().route("/payments/{id}", routing::post(pay));
    let (app, effects) = guarded(
        Router::new().nest("/v1", inner()).nest("/v2", inner()).nest("/shops/{shop}", inner()),
    );
    for (at, path) in ["/v1/payments/1", "/v2/payments/1", "/shops/1/payments/1"].iter().enumerate()
    {
        assert_eq!(ask(&app, path).await.text(), format!("payment {}", at + 1));
    }
    for path in ["/v1/payments/1", "/v2/payments/1", "/shops/1/payments/1"] {
        assert!(ask(&app, path).await.is_replayed(), "{path}");
    }
    // CASES 19: what nesting strips from the path is part of the request all the same.
    ask(&app, "/shops/2/payments/1").await.assert_problem(422, "key_reused");
    ask(&app, "/shops/1/payments/2").await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 3);
}

/// CASES 38: the operation of a nested route is its whole template.
#[tokio::test]
async fn the_name_of_an_operation_is_method_and_whole_template() {
    let (runtime, effects) = (memory(), Effects::default());
    let inner = Router::new().route("/payments/{id}", routing::post(pay));
    let app = Router::new()
        .nest("/shops/{shop}", inner)
        .layer(Extension(runtime.clone()))
        .with_state(effects);
    ask(&app, "/shops/1/payments/2").await;
    let state = async |name| runtime.inspect(&None::<&str>, name, "k").await.unwrap();
    let known = state("POST /shops/{shop}/payments/{id}").await;
    assert!(matches!(known, KeyState::Completed { .. }));
    assert!(matches!(state("POST /payments/{id}").await, KeyState::Absent));
}

/// CASES 38: below a wildcard every path is its own request of one operation.
#[tokio::test]
async fn a_wildcard_route_is_one_operation() {
    let (app, effects) = guarded(Router::new().route("/files/{*path}", routing::post(pay)));
    assert_eq!(ask(&app, "/files/a/b").await.text(), "payment 1");
    assert!(ask(&app, "/files/a/b").await.is_replayed());
    ask(&app, "/files/a").await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1);
}

/// CASES 38: a fallback has no template, so it has to be told what it is.
#[tokio::test]
async fn a_fallback_needs_a_named_operation() {
    let (app, effects) = guarded(Router::new().fallback(pay));
    ask(&app, "/anything").await.assert_problem(500, "operation_missing");
    let (nested, nested_effects) = guarded(Router::new().nest("/api", Router::new().fallback(pay)));
    let answer = ask(&nested, "/api/anything").await;
    answer.assert_problem(500, "operation_missing");
    assert_eq!(effects.count() + nested_effects.count(), 0);

    let (app, effects) = guarded(Router::new().fallback(named));
    assert_eq!(ask(&app, "/anything").await.text(), "payment 1");
    assert!(ask(&app, "/anything").await.is_replayed());
    ask(&app, "/something").await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1);
}

/// CASES 38: a name keeps the keys when the route changes; the request is still told by its path.
#[tokio::test]
async fn a_named_operation_survives_a_renamed_route() {
    let (runtime, effects) = (memory(), Effects::default());
    let app = |path| {
        Router::new()
            .route(path, routing::post(named))
            .layer(Extension(runtime.clone()))
            .with_state(effects.clone())
    };
    let (before, after) = (app("/payments/{id}"), app("/payments/{payment}"));
    assert_eq!(ask(&before, "/payments/1").await.text(), "payment 1");
    assert!(ask(&after, "/payments/1").await.is_replayed());
    assert!(matches!(
        runtime.inspect(&None::<&str>, "pay", "k").await.unwrap(),
        KeyState::Completed { .. }
    ));
    assert_eq!(effects.count(), 1);
}

/// CASES 38: two routes of one named operation share its keys, so the path tells them apart.
#[tokio::test]
async fn a_named_operation_mounted_twice_refuses_a_key_at_the_other_place() {
    let (app, effects) =
        guarded(Router::new().route("/a", routing::post(named)).route("/b", routing::post(named)));
    ask(&app, "/a").await;
    ask(&app, "/b").await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1);
}

/// CASES 38: a slash more is another route.
#[tokio::test]
async fn a_trailing_slash_makes_another_operation() {
    let (app, _) =
        guarded(Router::new().route("/a", routing::post(pay)).route("/a/", routing::post(pay)));
    assert_eq!(ask(&app, "/a").await.text(), "payment 1");
    assert_eq!(ask(&app, "/a/").await.text(), "payment 2");
}

/// Never a silent unguarded run.
#[tokio::test]
async fn a_router_without_a_runtime_says_which_line_is_missing_and_runs_nothing() {
    #[idempotent(key = header("Idempotency-Key"), optional)]
    async fn optional(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    let effects = Effects::default();
    let app = Router::new()
        .route("/payments", routing::post(pay))
        .route("/optional", routing::post(optional))
        .with_state(effects.clone());
    let requests = [
        post("/payments").key("k"),
        post("/payments"),
        post("/payments").key("not valid"),
        post("/optional").key("k"),
        post("/optional"),
    ];
    for request in requests {
        let answer = request.send(&app).await;
        answer.assert_problem(500, "runtime_missing");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(".layer(Extension(Idempotency::new(store)))"), "{detail}");
    }
    assert_eq!(effects.count(), 0);
}

#[derive(Clone)]
struct App {
    idempotency: Idempotency,
    effects: Effects,
}

impl FromRef<App> for Effects {
    fn from_ref(app: &App) -> Self {
        app.effects.clone()
    }
}

#[idempotent(key = header("Idempotency-Key"), runtime = app.idempotency)]
async fn by_state(State(app): State<App>) -> String {
    format!("payment {}", app.effects.happen())
}

#[tokio::test]
async fn the_runtime_may_come_from_an_argument() {
    let state = App { idempotency: memory(), effects: Effects::default() };
    let app = Router::new().route("/payments", routing::post(by_state)).with_state(state.clone());
    assert_eq!(ask(&app, "/payments").await.text(), "payment 1");
    assert!(ask(&app, "/payments").await.is_replayed());
    post("/payments").send(&app).await.assert_problem(400, "key_missing");
    let operation = "POST /payments";
    let known = state.idempotency.inspect(&None::<&str>, operation, "k").await.unwrap();
    assert!(matches!(known, KeyState::Completed { .. }));

    let layered = memory();
    let app = app.layer(Extension(layered.clone()));
    assert!(ask(&app, "/payments").await.is_replayed(), "the argument wins over the layer");
    let unknown = layered.inspect(&None::<&str>, operation, "k").await.unwrap();
    assert!(matches!(unknown, KeyState::Absent));
}

/// CASES 37: what the runtime of an argument says of bodies and callers holds too, although the body
/// was read before.
#[tokio::test]
async fn the_settings_of_a_runtime_from_an_argument_hold() {
    let runtime = Idempotency::builder(MemoryStore::new())
        .max_request_bytes(10)
        .credentials([http::HeaderName::from_static("x-tenant")])
        .docs_url("https://example.com/errors")
        .build()
        .unwrap();
    let state = App { idempotency: runtime, effects: Effects::default() };
    let app = Router::new().route("/payments", routing::post(by_state)).with_state(state.clone());
    let send = async |bytes, tenant| {
        let request = post("/payments").key("k").header("x-tenant", tenant);
        request.body(vec![b'x'; bytes]).send(&app).await
    };
    let refused = send(11, "a").await;
    refused.assert_problem(413, "body_too_large");
    assert!(refused.header("link").starts_with("<https://example.com/errors>"));
    assert_eq!(state.effects.count(), 0);
    assert_eq!(send(10, "a").await.text(), "payment 1");
    assert!(send(10, "a").await.is_replayed());
    send(10, "b").await.assert_problem(422, "key_reused");
    send(11, "a").await.assert_problem(413, "body_too_large");
}

/// Two routers, two runtimes: a key of one is unknown to the other.
#[tokio::test]
async fn each_router_may_have_a_runtime_of_its_own() {
    let effects = Effects::default();
    let part =
        |path, runtime| Router::new().route(path, routing::post(named)).layer(Extension(runtime));
    let shared = memory();
    let app = Router::new()
        .merge(part("/a", shared.clone()))
        .merge(part("/b", memory()))
        .nest("/inner", part("/c", memory()))
        .layer(Extension(shared))
        .with_state(effects.clone());
    for (at, path) in ["/a", "/b", "/inner/c"].iter().enumerate() {
        let answer = ask(&app, path).await;
        assert_eq!(answer.text(), format!("payment {}", at + 1), "{path}");
    }
    assert_eq!(effects.count(), 3);
}
