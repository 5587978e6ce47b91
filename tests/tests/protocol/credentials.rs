//! Whose key it is: by `scope`, or else by the credentials of the request.

use axum::{Json, Router, extract::State};
use http::{HeaderMap, HeaderName, StatusCode};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Logs, Request, post};

use tokio::time::Instant;

use crate::kit::{
    Effects, Gated, Script, User, every_path, memory, pay, pay_gated, payments, scripted, spawn,
};

/// One scope for everybody, in disguise.
fn all() -> &'static str {
    "tenant"
}

fn nobody() -> &'static str {
    ""
}

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

/// CASES 56: a gateway says who asks in a field of its own.
#[tokio::test]
async fn callers_whom_a_gateway_tells_apart_do_not_read_each_others_records() {
    let names = [
        "cf-access-jwt-assertion",
        "dpop",
        "proxy-authorization",
        "remote-user",
        "x-access-token",
        "x-amzn-oidc-identity",
        "x-auth-request-email",
        "x-auth-token",
        "x-client-cert",
        "x-forwarded-client-cert",
        "x-forwarded-email",
        "x-forwarded-user",
        "x-goog-authenticated-user-id",
        "x-goog-iap-jwt-assertion",
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-ms-token-aad-access-token",
        "x-remote-user",
        "x-ssl-client-s-dn",
        "x-tenant-id",
        "x-user-id",
    ];
    for name in names {
        for (path, runtime) in every_path() {
            let effects = Effects::default();
            for app in [
                payments(&runtime, effects.clone(), pay),
                payments(&runtime, effects.clone(), pay_of),
            ] {
                let of = |who| post("/payments").key(name).header(name, who);
                let first = of("alice").send(&app).await;
                let other = of("bob").send(&app).await;
                other.assert_problem(422, "key_reused");
                assert!(!other.text().contains(first.text()), "{name} {path}");
                post("/payments").key(name).send(&app).await.assert_problem(422, "key_reused");
                assert!(of("alice").send(&app).await.is_replayed(), "{name} {path}");
            }
            assert_eq!(effects.count(), 1);
        }
    }
}

/// CASES 56: a `DPoP` proof is new in each request, the key in its header is the client's.
#[tokio::test]
async fn a_retry_with_a_new_dpop_proof_is_the_same_caller() {
    for (_, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), pay);
        let with = |proof| ask().header("dpop", proof);
        with("key-of-ada.proof-1.signature-1").send(&app).await;
        assert!(with("key-of-ada.proof-2.signature-2").send(&app).await.is_replayed());
        let eve = with("key-of-eve.proof-1.signature-1").send(&app).await;
        eve.assert_problem(422, "key_reused");
    }
}

/// The order in which a proxy writes header fields says nothing.
#[tokio::test]
async fn credentials_count_whatever_their_order() {
    let app = payments(&memory(), Effects::default(), pay);
    let (token, user) = (("authorization", "a"), ("x-user-id", "7"));
    let with = |one: (&'static str, &str), two: (&'static str, &str)| {
        ask().header(one.0, one.1).header(two.0, two.1)
    };
    with(token, user).send(&app).await;
    assert!(with(user, token).send(&app).await.is_replayed());
}

/// What a service names is added to the default credentials, or stands in their place.
#[tokio::test]
async fn a_service_adds_credentials_or_names_all_of_them() {
    let name = || [HeaderName::from_static("x-session")];
    let builder = || Idempotency::builder(MemoryStore::new());
    let added = builder().credentials(name()).build().unwrap();
    let only = builder().credentials_only(name()).build().unwrap();
    for (runtime, default_counts) in [(added, true), (only, false)] {
        let app = payments(&runtime, Effects::default(), pay);
        let with =
            |token, session| ask().header("authorization", token).header("x-session", session);
        with("1", "ada").send(&app).await;
        with("1", "eve").send(&app).await.assert_problem(422, "key_reused");
        assert_eq!(with("2", "ada").send(&app).await.is_replayed(), !default_counts);
    }
}

/// CASES 59: a retry under another condition is another request, with a scope or a fingerprint too.
#[tokio::test]
async fn preconditions_are_part_of_the_request() {
    #[idempotent(key = header("Idempotency-Key"), scope = all(), fingerprint = "all")]
    async fn change(State(effects): State<Effects>, _: ()) -> String {
        effects.happen().to_string()
    }
    let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
    for name in names {
        for (_, runtime) in every_path() {
            let plain = payments(&runtime, Effects::default(), pay);
            let scoped = payments(&runtime, Effects::default(), change);
            for (key, app) in [("plain", plain), ("scoped", scoped)] {
                let with = |condition| post("/payments").key(key).header(name, condition);
                with("1").send(&app).await;
                assert!(with("1").send(&app).await.is_replayed());
                with("2").send(&app).await.assert_problem(422, "key_reused");
            }
        }
    }
}

/// CASES 59: the answer to a condition that did not hold is not kept for the corrected one.
#[tokio::test]
async fn a_retry_with_a_corrected_precondition_runs() {
    for (_, runtime) in every_path() {
        let script = Script::new(|number| match number {
            1 => StatusCode::PRECONDITION_FAILED,
            _ => StatusCode::OK,
        });
        let app = payments(&runtime, script, scripted);
        let with = |etag| ask().header("if-match", etag).send(&app);
        assert_eq!(with("old").await.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(with("new").await.status, StatusCode::OK);
    }
}

/// CASES 60: a field that decides about the effect is named by the service.
#[tokio::test]
async fn a_service_names_fields_that_are_part_of_the_request() {
    let named = ["accept", "x-account", "x-dry-run"].map(HeaderName::from_static);
    let builder = Idempotency::builder(MemoryStore::new());
    let runtime = builder.fingerprint_headers(named).build().unwrap();
    let app = payments(&runtime, Effects::default(), pay);
    ask().header("x-account", "1").send(&app).await;
    ask().header("x-account", "2").send(&app).await.assert_problem(422, "key_reused");
    let dry = ask().header("x-account", "1").header("x-dry-run", "true").send(&app).await;
    dry.assert_problem(422, "key_reused");
    let other = ask().header("x-account", "1").header("x-other", "1").send(&app).await;
    assert!(other.is_replayed());
    // Also where the last argument has taken the request.
    for app in [app, payments(&runtime, Effects::default(), pay_of)] {
        let accepts = |kind| post("/payments").key("accept").header("accept", kind).send(&app);
        accepts("a/b").await;
        accepts("c/d").await.assert_problem(422, "key_reused");
    }
}

/// CASES 57: `shared` means it: nobody's credentials count.
#[tokio::test]
async fn where_everybody_shares_the_keys_credentials_do_not_count() {
    #[idempotent(key = header("Idempotency-Key"), shared)]
    async fn create(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    for (_, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), create);
        ask().header("authorization", "ada").send(&app).await;
        assert!(ask().header("authorization", "eve").send(&app).await.is_replayed());
        assert!(ask().send(&app).await.is_replayed());
    }
}

/// CASES 58: a scope of nothing is no scope: it would be one for everybody.
#[tokio::test]
async fn an_empty_scope_leaves_callers_told_apart_by_their_credentials() {
    #[idempotent(key = header("Idempotency-Key"), scope = user.0.clone().unwrap_or_default())]
    async fn one(State(effects): State<Effects>, user: User) -> String {
        drop(user);
        effects.happen().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"), scope = ("", user.0.as_deref().unwrap_or("")))]
    async fn two(State(effects): State<Effects>, user: User) -> String {
        drop(user);
        effects.happen().to_string()
    }
    for (path, runtime) in every_path() {
        let one = payments(&runtime, Effects::default(), one);
        let two = payments(&runtime, Effects::default(), two);
        for (key, app) in [("one", one), ("two", two)] {
            let of = |who| post("/payments").key(key).header("authorization", who);
            of("ada").send(&app).await;
            of("eve").send(&app).await.assert_problem(422, "key_reused");
            assert!(of("ada").send(&app).await.is_replayed(), "{path}");
            let user = of("eve").header("x-user", "eve").send(&app).await;
            assert!(
                !user.is_replayed() && user.status.is_success(),
                "a scope of its own: {user:?}"
            );
        }
    }
}

/// CASES 57, 58: one line for each operation that cannot tell its callers apart, and none where
/// somebody said that this is meant.
#[tokio::test]
async fn an_operation_that_cannot_tell_its_callers_apart_says_so_once() {
    #[idempotent(key = header("Idempotency-Key"), operation = "told")]
    async fn told() {}
    #[idempotent(key = header("Idempotency-Key"), operation = "shared", shared)]
    async fn shared() {}
    #[idempotent(key = header("Idempotency-Key"), operation = "scoped", scope = all())]
    async fn scoped() {}
    #[idempotent(key = header("Idempotency-Key"), operation = "empty", scope = nobody())]
    async fn empty() {}
    let (runtime, logs) = (memory(), Logs::new());
    let told = payments(&runtime, (), told);
    post("/payments").key("with").header("authorization", "ada").send(&told).await;
    logs.assert_are(&[]); // who has credentials is told apart
    let others = [payments(&runtime, (), shared), payments(&runtime, (), scoped)];
    for app in &others {
        post("/payments").key("k").send(app).await;
    }
    logs.assert_are(&[]);
    for key in ["a", "b", "c"] {
        post("/payments").key(key).send(&told).await;
    }
    let told: &[&str] = &["WARN", "cannot be told apart", "told", "scope = …", "shared"];
    logs.assert_are(&[told]);
    let empty = payments(&runtime, (), empty);
    for key in ["a", "b"] {
        post("/payments").key(key).header("authorization", "ada").send(&empty).await;
    }
    logs.assert_are(&[told, &["WARN", "operation=empty", "is empty and is ignored"]]);
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

/// CASES 60: fields that one handler names, whichever argument stands last.
#[tokio::test]
async fn an_attribute_names_fields_that_are_part_of_its_requests() {
    #[idempotent(key = header("Idempotency-Key"), fingerprint_headers = ["X-Dry-Run", "x-account"])]
    async fn one(State(effects): State<Effects>, body: String) -> String {
        format!("payment {}{body}", effects.happen())
    }
    #[idempotent(key = header("Idempotency-Key"), fingerprint_headers = ["X-Dry-Run", "x-account"])]
    async fn two(State(effects): State<Effects>, _: HeaderMap) -> String {
        effects.happen().to_string()
    }
    #[idempotent(key = fingerprint, fingerprint_headers = ["X-Dry-Run", "x-account"])]
    async fn three(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    for (_, runtime) in every_path() {
        for (key, app) in [
            ("one", payments(&runtime, Effects::default(), one)),
            ("two", payments(&runtime, Effects::default(), two)),
        ] {
            let ask = |account: &str| post("/payments").key(key).header("x-account", account);
            ask("1").send(&app).await;
            assert!(ask("1").header("x-other", "2").send(&app).await.is_replayed());
            ask("2").send(&app).await.assert_problem(422, "key_reused");
            let dry = ask("1").header("x-dry-run", "true").send(&app).await;
            dry.assert_problem(422, "key_reused");
        }
        let app = payments(&runtime, Effects::default(), three);
        let ask = |account: &str| post("/payments").header("x-account", account);
        assert!(!ask("1").send(&app).await.is_replayed());
        assert!(!ask("2").send(&app).await.is_replayed());
        assert!(ask("2").send(&app).await.is_replayed());
    }
}

/// CASES 61: neither the order of members nor white space makes it another request.
#[tokio::test]
async fn a_client_that_serialises_its_json_anew_is_replayed() {
    #[idempotent(key = header("Idempotency-Key"), fingerprint = json)]
    async fn late(State(effects): State<Effects>, _: Json<serde_json::Value>) -> String {
        effects.happen().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"), fingerprint = hash(body.0))]
    async fn first(State(effects): State<Effects>, body: Json<serde_json::Value>) -> String {
        drop(body);
        effects.happen().to_string()
    }
    let json = |app: &str, key: &str, body: &'static str| {
        let json = post(app).key(key).header("content-type", "application/json");
        json.body(body)
    };
    for (_, runtime) in every_path() {
        for (name, app) in [
            ("late", payments(&runtime, Effects::default(), late)),
            ("first", payments(&runtime, Effects::default(), first)),
        ] {
            let key = format!("{name}-key");
            let ask = |body| json("/payments", &key, body);
            assert!(!ask(r#"{"to":"bob","amount":[1,2.5]}"#).send(&app).await.is_replayed());
            for same in [
                r#"{"amount":[1,2.5],"to":"bob"}"#,
                "{\n  \"to\": \"b\\u006fb\",\n  \"amount\": [1, 2.50]\n}\n",
            ] {
                assert!(ask(same).send(&app).await.is_replayed(), "{name}: {same}");
            }
            for other in [
                r#"{"to":"bob","amount":[2.5,1]}"#,
                r#"{"to":"Bob","amount":[1,2.5]}"#,
                r#"{"to":"bob","amount":[1,2.5],"note":null}"#,
            ] {
                let answer = ask(other).send(&app).await;
                answer.assert_problem(422, "key_reused");
            }
        }
        // The query counts as it is, and what is no JSON byte for byte.
        let app = payments(&runtime, Effects::default(), late);
        json("/payments?a=1", "query", "[1]").send(&app).await;
        assert!(json("/payments?a=1", "query", "[ 1 ]").send(&app).await.is_replayed());
        let other = json("/payments?a=2", "query", "[1]").send(&app).await;
        other.assert_problem(422, "key_reused");
    }
}
