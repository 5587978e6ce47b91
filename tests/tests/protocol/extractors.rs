//! Row "extractors": a rejection is as without us, and leaves nothing behind.

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, RawQuery, State},
    routing,
};
use http::{HeaderMap, Method, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use idempotent_runtime::{Idempotency, KeyState, idempotent};
use idempotent_tests::{Request, post};
use serde::Deserialize;
use serde_json::json;

use crate::kit::{Effects, Frames, memory, payments};

#[derive(Deserialize)]
struct New {
    amount: u32,
}

#[idempotent(key = header("Idempotency-Key"))]
async fn create(State(effects): State<Effects>, Json(new): Json<New>) -> (StatusCode, String) {
    (StatusCode::CREATED, format!("payment {} of {}", effects.happen(), new.amount))
}

async fn state_of(runtime: &Idempotency, operation: &str) -> KeyState {
    runtime.inspect(&None::<&str>, operation, "k").await.unwrap()
}

/// CASES 22: a body that does not validate claims nothing and records nothing: the key is still free,
/// for another body too.
#[tokio::test]
async fn a_body_that_does_not_validate_leaves_the_key_free() {
    let (runtime, effects) = (memory(), Effects::default());
    let app = payments(&runtime, effects.clone(), create);
    let ask = || post("/payments").key("k");

    let refused = [
        (ask().json(&json!({"amount": "much"})), 422),
        (ask().header("content-type", "application/json").body("{\"amount\":"), 400),
        (ask().body("{\"amount\":1}"), 415),
        (ask(), 415),
    ];
    for (request, status) in refused {
        let answer = request.send(&app).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_ne!(answer.header("content-type"), "application/problem+json", "axum's own answer");
        assert!(matches!(state_of(&runtime, "POST /payments").await, KeyState::Absent));
    }
    let answer = ask().json(&json!({"amount": 5})).send(&app).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (201, "payment 1 of 5"));
    assert!(ask().json(&json!({"amount": 5})).send(&app).await.is_replayed());
    assert_eq!(effects.count(), 1);
}

/// CASES 22: after an outcome, a body that does not validate is still told so, and the outcome stays.
#[tokio::test]
async fn a_rejection_does_not_touch_a_recorded_outcome() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), create);
    let ask = || post("/payments").key("k");
    let first = ask().json(&json!({"amount": 5})).send(&app).await;
    assert_eq!(ask().body("?").send(&app).await.status, 415);
    let again = ask().json(&json!({"amount": 5})).send(&app).await;
    assert!(again.is_replayed() && again.body == first.body);
    assert_eq!(effects.count(), 1);
}

/// Says who asks, or `401`.
struct Authenticated;

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let known = parts.headers.get("x-user").is_some_and(|user| user == "ada");
        known.then_some(Self).ok_or((StatusCode::UNAUTHORIZED, "who are you?"))
    }
}

/// CASES 22: who is not let in cannot spoil somebody's key, nor read what is recorded under it.
#[tokio::test]
async fn a_refused_caller_neither_claims_a_key_nor_reads_its_record() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(_: Authenticated, State(effects): State<Effects>) -> String {
        format!("secret {}", effects.happen())
    }
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), create);
    let (ada, eve) =
        (post("/payments").key("k").header("x-user", "ada"), post("/payments").key("k"));
    let refused = eve.clone().send(&app).await;
    assert_eq!((refused.status.as_u16(), refused.text()), (401, "who are you?"));
    assert_eq!(ada.clone().send(&app).await.text(), "secret 1");
    assert_eq!(eve.send(&app).await, refused, "also when there is a record");
    assert!(ada.send(&app).await.is_replayed());
}

/// The rejection of a leading extractor comes first, whatever is wrong with body and key.
#[tokio::test]
async fn extractors_run_in_the_order_of_the_arguments() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(_: Path<u32>, _: Authenticated, _: Json<New>) {}
    let app = Router::new()
        .route("/payments/{id}", routing::post(create))
        .layer(axum::Extension(memory()));
    assert_eq!(post("/payments/one").send(&app).await.status, 400, "the path");
    assert_eq!(post("/payments/1").send(&app).await.status, 401, "the caller");
    let known = || post("/payments/1").header("x-user", "ada");
    assert_eq!(known().body("?").send(&app).await.status, 415, "the body");
    known().json(&json!({"amount": 1})).send(&app).await.assert_problem(400, "key_missing");
}

/// CASES 29: also what follows the body.
#[tokio::test]
async fn trailers_of_a_request_arrive_as_without_the_attribute() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(request: axum::extract::Request) -> String {
        let body = request.into_body().collect().await.unwrap();
        body.trailers().unwrap()["x-checksum"].to_str().unwrap().to_owned()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create_of_body(body: axum::body::Body) -> String {
        let body = body.collect().await.unwrap();
        body.trailers().unwrap()["x-checksum"].to_str().unwrap().to_owned()
    }
    for app in [payments(&memory(), (), create), payments(&memory(), (), create_of_body)] {
        let name = http::HeaderName::from_static("x-checksum");
        let trailers = HeaderMap::from_iter([(name, http::HeaderValue::from_static("1234"))]);
        let body = Frames::with_trailers(&["pay", "ment"], trailers);
        assert_eq!(post("/payments").key("k").send_body(&app, body).await.text(), "1234");
    }
}

/// Every argument arrives as without us, whichever kind stands last.
#[tokio::test]
async fn arguments_of_every_kind_arrive_as_without_the_attribute() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn parts_last(
        method: Method,
        Path(id): Path<u32>,
        headers: HeaderMap,
        q: RawQuery,
    ) -> String {
        format!("{method} {id} {} {:?}", headers["x-note"].to_str().unwrap(), q.0)
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn text_last(Path(id): Path<u32>, body: String) -> String {
        format!("{id} {body}")
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn maybe_last(body: Option<Json<New>>) -> String {
        format!("{:?}", body.map(|body| body.amount))
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn either_last(
        body: Result<Json<New>, axum::extract::rejection::JsonRejection>,
    ) -> String {
        body.map_or_else(|rejection| rejection.to_string(), |body| body.amount.to_string())
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn request_last(request: axum::extract::Request) -> String {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body))
    }
    let app = Router::new()
        .route("/parts/{id}", routing::any(parts_last))
        .route("/text/{id}", routing::post(text_last))
        .route("/maybe", routing::post(maybe_last))
        .route("/either", routing::post(either_last))
        .route("/request", routing::post(request_last))
        .layer(axum::Extension(memory()));

    let put = Request::new(Method::PUT, "/parts/7?a=1&b").key("k").header("x-note", "hi");
    let cases = [
        (put, "PUT 7 hi Some(\"a=1&b\")"),
        (post("/text/7").key("k").body("body"), "7 body"),
        (post("/maybe").key("k").json(&json!({"amount": 3})), "Some(3)"),
        (post("/maybe").key("l"), "None"),
        (post("/either").key("k").json(&json!({"amount": 3})), "3"),
        (
            post("/either").key("l").body("x"),
            "Expected request with `Content-Type: application/json`",
        ),
        (post("/request?x").key("k").body("raw"), "POST /request?x raw"),
    ];
    for (request, expected) in cases {
        assert_eq!(request.clone().send(&app).await.text(), expected);
        let again = request.send(&app).await;
        assert!(again.is_replayed(), "{expected}: {again:?}");
        assert_eq!(again.text(), expected);
    }
}
