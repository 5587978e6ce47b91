//! Row "look-up": a key belongs to one request, in every state and on every path.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing};
use http::{Method, StatusCode};
use idempotent_runtime::{Idempotency, idempotent};
use idempotent_tests::{Request, post};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::kit::{
    Effects, Gated, Script, all_wait, every_path, hang_up, memory, pay, pay_gated, payments,
    scripted, spawn,
};

/// CASES 4, 5: a completed key answers only the request that it was completed for; whoever asks with
/// other content gets nothing of the record, and spoils nothing.
#[tokio::test]
async fn a_completed_key_refuses_other_content() {
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = payments(&runtime, effects.clone(), pay);
        let ask = async |body| post("/payments").key("k").body(body).send(&app).await;
        let first = ask("a").await;
        for other in ["b", "", "a ", "aa"] {
            let refused = ask(other).await;
            refused.assert_problem(422, "key_reused");
            assert_eq!(refused.json()["retryable"], false);
            assert!(!refused.text().contains(first.text()), "{path}");
            assert!(!refused.is_replayed());
        }
        assert!(ask("a").await.is_replayed(), "{path}");
        assert_eq!(effects.count(), 1, "{path}");
    }
}

/// CASES 4: a running key refuses other content at once, before anybody waits for it.
#[tokio::test(start_paused = true)]
async fn a_running_key_refuses_other_content_without_waiting() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let first = spawn(&app, post("/payments").key("k").body("a"));
        gated.gate.reached().await;
        let before = Instant::now();
        let other = post("/payments").key("k").body("b").send(&app).await;
        other.assert_problem(422, "key_reused");
        assert_eq!(Instant::now(), before, "{path}");
        gated.gate.open();
        assert_eq!(first.await.unwrap().text(), "payment 1");
        assert_eq!(gated.effects.count(), 1);
    }
}

/// CASES 42: a key that was released after a transient failure still belongs to its request.
#[tokio::test]
async fn a_released_key_refuses_other_content_and_takes_its_own() {
    for (path, runtime) in every_path() {
        let script = Script::new(|number| match number {
            1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CREATED,
        });
        let effects = script.effects.clone();
        let app = payments(&runtime, script, scripted);
        let ask = async |body| post("/payments").key("k").body(body).send(&app).await;
        assert_eq!(ask("a").await.status, 503);
        ask("b").await.assert_problem(422, "key_reused");
        assert_eq!(effects.count(), 1, "{path}");
        assert_eq!(ask("a").await.status, 201, "{path}");
        ask("b").await.assert_problem(422, "key_reused");
    }
}

/// CASES 42: so does one whose lease ran out without an outcome.
#[tokio::test(start_paused = true)]
async fn an_abandoned_key_refuses_other_content() {
    #[idempotent(key = header("Idempotency-Key"), lease = "1s", spawn = false)]
    async fn create(State(gated): State<Gated>) -> (StatusCode, String) {
        gated.pay().await
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), create);
    let first = spawn(&app, post("/payments").key("k").body("a"));
    gated.gate.reached().await;
    hang_up(first).await;
    advance(Duration::from_secs(1)).await;
    post("/payments").key("k").body("b").send(&app).await.assert_problem(422, "key_reused");
    gated.gate.open();
    assert_eq!(post("/payments").key("k").body("a").send(&app).await.text(), "payment 1");
}

/// CASES 4: other content does not join the flight of a request that is still being claimed either.
#[tokio::test(start_paused = true)]
async fn one_key_with_two_contents_at_once_runs_one_of_them() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let requests = ["a", "b", "a", "b", "c"].map(|body| post("/payments").key("k").body(body));
        let clients = requests.map(|request| spawn(&app, request));
        all_wait().await;
        gated.gate.open();
        let mut codes = Vec::new();
        for client in clients {
            codes.push(client.await.unwrap().status.as_u16());
        }
        assert_eq!(codes, [201, 422, 201, 422, 422], "{path}");
        assert_eq!(gated.effects.count(), 1, "{path}");
    }
}

fn accounts(runtime: Idempotency, effects: &Effects) -> Router {
    Router::new()
        .route("/accounts/{id}/deposit", routing::any(pay))
        .layer(axum::Extension(runtime))
        .with_state(effects.clone())
}

/// CASES 19: same key, same content, another resource of the same route.
#[tokio::test]
async fn another_path_of_the_same_route_is_another_request() {
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = accounts(runtime, &effects);
        let ask = async |at| post(at).key("k").body("10").send(&app).await;
        assert_eq!(ask("/accounts/1/deposit").await.text(), "payment 1");
        ask("/accounts/2/deposit").await.assert_problem(422, "key_reused");
        ask("/accounts/%31/deposit").await.assert_problem(422, "key_reused");
        assert!(ask("/accounts/1/deposit").await.is_replayed(), "{path}");
        assert_eq!(effects.count(), 1);
    }
}

#[tokio::test]
async fn another_query_is_another_request() {
    let effects = Effects::default();
    let app = accounts(memory(), &effects);
    let ask = async |at: &str| post(at).key("k").send(&app).await;
    ask("/accounts/1/deposit?dry=1").await;
    for other in ["", "?", "?dry=0", "?dry=1&", "?dry=1&dry=1"] {
        let other = format!("/accounts/1/deposit{other}");
        ask(&other).await.assert_problem(422, "key_reused");
    }
    assert!(ask("/accounts/1/deposit?dry=1").await.is_replayed());
    assert_eq!(effects.count(), 1);
}

/// Without `operation` a method is another operation; with it, another request of the same one.
#[tokio::test]
async fn another_method_is_another_operation_or_at_least_another_request() {
    #[idempotent(key = header("Idempotency-Key"), operation = "deposit")]
    async fn named(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    let effects = Effects::default();
    let app = accounts(memory(), &effects).merge(
        Router::new()
            .route("/named", routing::any(named))
            .layer(axum::Extension(memory()))
            .with_state(effects.clone()),
    );
    let ask = async |method, at| Request::new(method, at).key("k").send(&app).await;
    assert_eq!(ask(Method::POST, "/accounts/1/deposit").await.text(), "payment 1");
    assert_eq!(ask(Method::PUT, "/accounts/1/deposit").await.text(), "payment 2");
    assert!(ask(Method::PUT, "/accounts/1/deposit").await.is_replayed());

    assert_eq!(ask(Method::POST, "/named").await.text(), "3");
    ask(Method::PUT, "/named").await.assert_problem(422, "key_reused");
}

/// CASES 24: bodies of every size, around every size at which hashing or buffering changes its ways.
#[tokio::test]
async fn one_changed_byte_is_seen_in_bodies_of_every_size() {
    for size in [1, 63, 64, 512, 900, 1023, 1024, 1025, 8192, 65_536, 1_000_000, 2_097_152] {
        let effects = Effects::default();
        let app = payments(&memory(), effects.clone(), pay);
        let ask =
            async |body: &[u8]| post("/payments").key("k").body(body.to_vec()).send(&app).await;
        let body = vec![b'x'; size];
        assert_eq!(ask(&body).await.text(), "payment 1", "{size}");
        for at in [0, size / 2, size - 1] {
            let mut changed = body.clone();
            changed[at] ^= 1;
            ask(&changed).await.assert_problem(422, "key_reused");
        }
        ask(&body[1..]).await.assert_problem(422, "key_reused");
        assert!(ask(&body).await.is_replayed(), "{size}");
        assert_eq!(effects.count(), 1);
    }
}

#[derive(Deserialize)]
struct New {
    amount: u32,
    currency: Option<String>,
}

/// `fingerprint = …` stands for query and body, and for nothing else.
#[tokio::test]
async fn a_fingerprint_of_its_own_replaces_query_and_body_but_not_the_path() {
    #[idempotent(key = header("Idempotency-Key"), fingerprint = (new.amount, new.currency))]
    async fn create(State(effects): State<Effects>, Json(new): Json<New>) -> String {
        drop(new);
        effects.happen().to_string()
    }
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = Router::new()
            .route("/accounts/{id}/deposit", routing::post(create))
            .layer(axum::Extension(runtime))
            .with_state(effects.clone());
        let ask = async |at, body| post(at).key("k").json(&body).send(&app).await;
        let here = "/accounts/1/deposit";
        assert_eq!(ask(here, json!({"amount": 5, "sent": "now"})).await.text(), "1");
        assert!(ask(here, json!({"sent": "later", "amount": 5})).await.is_replayed(), "{path}");
        assert!(ask("/accounts/1/deposit?t=1", json!({"amount": 5})).await.is_replayed(), "{path}");
        for (at, body) in [
            (here, json!({"amount": 6})),
            (here, json!({"amount": 5, "currency": ""})),
            ("/accounts/2/deposit", json!({"amount": 5})),
        ] {
            ask(at, body).await.assert_problem(422, "key_reused");
        }
        assert_eq!(effects.count(), 1);
    }
}
