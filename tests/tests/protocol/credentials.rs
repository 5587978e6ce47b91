//! Whose key it is: by `scope`, or else by the credentials of the request.

use axum::{Router, extract::State};
use http::HeaderName;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Request, post};

use tokio::time::Instant;

use crate::kit::{Effects, Gated, User, every_path, memory, pay, pay_gated, payments, spawn};

fn ask() -> Request {
    post("/payments").key("k")
}

/// Its last argument only reads the body, so its request stays whole.
#[idempotent(key = header("Idempotency-Key"))]
async fn pay_of(State(effects): State<Effects>, body: String) -> String {
    format!("payment {}{body}", effects.happen())
}

/// CASES 18: without a scope, another caller with the same key gets `422` and no content, whichever
/// header says who it is, and whichever argument stands last.
#[tokio::test]
async fn another_caller_does_not_read_a_record() {
    for name in ["authorization", "cookie", "x-api-key"] {
        for (path, runtime) in every_path() {
            let effects = Effects::default();
            for (nth, app) in [
                payments(&runtime, effects.clone(), pay),
                payments(&runtime, effects.clone(), pay_of),
            ]
            .iter()
            .enumerate()
            {
                let ask = || post("/payments").key(&nth.to_string());
                let ada = ask().header(name, "ada");
                let first = ada.clone().send(app).await;
                let others = [
                    ask(),
                    ask().header(name, "eve"),
                    ask().header(name, ""),
                    ask().header(name, "ada").header(name, "eve"),
                    ask().header(name, "eve").header(name, "ada"),
                ];
                for other in others {
                    let refused = other.send(app).await;
                    refused.assert_problem(422, "key_reused");
                    assert!(!refused.text().contains(first.text()));
                }
                assert!(ada.send(app).await.is_replayed(), "{name} {path}");
                assert_eq!(effects.count(), nth + 1);
            }
        }
    }
}

/// CASES 18: nor does another caller wait for somebody's running request.
#[tokio::test(start_paused = true)]
async fn another_caller_does_not_join_a_running_request() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        let app = payments(&runtime, gated.clone(), pay_gated);
        let ada = spawn(&app, ask().header("authorization", "ada"));
        gated.gate.reached().await;
        let before = Instant::now();
        let eve = ask().header("authorization", "eve").send(&app).await;
        eve.assert_problem(422, "key_reused");
        assert_eq!(Instant::now(), before, "{path}");
        gated.gate.open();
        assert_eq!(ada.await.unwrap().text(), "payment 1");
    }
}

/// CASES 18: a value in another header is another caller.
#[tokio::test]
async fn one_value_in_two_headers_is_two_callers() {
    let app = payments(&memory(), Effects::default(), pay);
    ask().header("authorization", "x").send(&app).await;
    ask().header("x-api-key", "x").send(&app).await.assert_problem(422, "key_reused");
    let both = ask().header("authorization", "x").header("x-api-key", "x");
    both.send(&app).await.assert_problem(422, "key_reused");
}

/// Nothing else about a request says who asks.
#[tokio::test]
async fn other_headers_do_not_count() {
    let app = payments(&memory(), Effects::default(), pay);
    ask().header("user-agent", "a").header("traceparent", "1").send(&app).await;
    let again = ask().header("user-agent", "b").header("accept", "text/plain").send(&app).await;
    assert!(again.is_replayed());
}

/// The way out stands in the answer: credentials are refreshed, `scope` stays.
#[tokio::test]
async fn refreshed_credentials_are_refused_with_a_hint_at_scope() {
    let app = payments(&memory(), Effects::default(), pay);
    ask().header("authorization", "Bearer 1").send(&app).await;
    let refused = ask().header("authorization", "Bearer 2").send(&app).await;
    refused.assert_problem(422, "key_reused");
    assert!(refused.json()["detail"].as_str().unwrap().contains("`scope`"), "{refused:?}");
}

#[tokio::test]
async fn the_list_of_credentials_can_be_set() {
    let runtime = Idempotency::builder(MemoryStore::new())
        .credentials([HeaderName::from_static("x-tenant")])
        .build()
        .unwrap();
    let app = payments(&runtime, Effects::default(), pay);
    ask().header("x-tenant", "a").header("authorization", "1").send(&app).await;
    let refreshed = ask().header("x-tenant", "a").header("authorization", "2").send(&app).await;
    assert!(refreshed.is_replayed());
    let other = ask().header("x-tenant", "b").header("authorization", "1").send(&app).await;
    other.assert_problem(422, "key_reused");
}

#[idempotent(key = header("Idempotency-Key"), scope = user.0)]
async fn pay_as(State(effects): State<Effects>, user: User) -> String {
    format!("{} for {:?}", effects.happen(), user.0)
}

fn scoped(runtime: &Idempotency) -> Router {
    payments(runtime, Effects::default(), pay_as)
}

/// CASES 18: with a scope, two users who chose the same key have a record each.
#[tokio::test]
async fn two_scopes_with_one_key_are_two_operations() {
    for (path, runtime) in every_path() {
        let app = scoped(&runtime);
        let ask = async |user| ask().header("x-user", user).send(&app).await;
        assert_eq!(ask("ada").await.text(), "1 for Some(\"ada\")");
        assert_eq!(ask("eve").await.text(), "2 for Some(\"eve\")");
        for (user, text) in [("ada", "1 for Some(\"ada\")"), ("eve", "2 for Some(\"eve\")")] {
            let again = ask(user).await;
            assert!(again.is_replayed() && again.text() == text, "{path}");
        }
    }
}

#[tokio::test]
async fn within_a_scope_credentials_may_be_refreshed() {
    let app = scoped(&memory());
    let ada = |token| ask().header("x-user", "ada").header("authorization", token);
    ada("Bearer 1").send(&app).await;
    assert!(ada("Bearer 2").header("cookie", "a=b").send(&app).await.is_replayed());
}

/// CASES 18: a scope that is `None` protects nobody, so credentials count again.
#[tokio::test]
async fn without_a_scope_for_this_request_credentials_count() {
    let app = scoped(&memory());
    ask().header("authorization", "ada").send(&app).await;
    ask().header("authorization", "eve").send(&app).await.assert_problem(422, "key_reused");
    assert!(ask().header("authorization", "ada").send(&app).await.is_replayed());
    let scoped = ask().header("authorization", "ada").header("x-user", "ada").send(&app).await;
    assert!(!scoped.is_replayed(), "a scope is not an absent one");
}

/// CASES 18: also when the handler says itself what makes two requests the same.
#[tokio::test]
async fn a_fingerprint_of_its_own_does_not_replace_the_credentials() {
    #[idempotent(key = header("Idempotency-Key"), fingerprint = body)]
    async fn create(State(effects): State<Effects>, body: String) -> String {
        format!("{} {body}", effects.happen())
    }
    for (_, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), create);
        let ask = async |who| ask().header("authorization", who).body("x").send(&app).await;
        assert_eq!(ask("ada").await.text(), "1 x");
        ask("eve").await.assert_problem(422, "key_reused");
        assert!(ask("ada").await.is_replayed());
    }
}

/// CASES 18: a scope of which a part is `None` does not say whose key it is, so credentials count.
#[tokio::test]
async fn a_scope_with_a_missing_part_leaves_callers_told_apart_by_their_credentials() {
    #[idempotent(key = header("Idempotency-Key"), scope = ("tenant", user.0))]
    async fn create(State(effects): State<Effects>, user: User) -> String {
        drop(user);
        effects.happen().to_string()
    }
    for (path, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), create);
        let ada = ask().header("authorization", "ada");
        assert_eq!(ada.clone().send(&app).await.text(), "1", "{path}");
        let eve = ask().header("authorization", "eve").send(&app).await;
        eve.assert_problem(422, "key_reused");
        assert!(ada.send(&app).await.is_replayed());
    }
}
