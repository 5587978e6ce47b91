//! The last argument: taken for every request, but for one that only reads the body, which the
//! fingerprint stands for when a record is replayed.

use std::cell::Cell;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State},
};
use http::{StatusCode, request::Parts};
use idempotent_runtime::{Attempt, Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Request as Ask, post};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::json;

use crate::kit::{Effects, memory, payments};

thread_local! {
    static PARSED: Cell<usize> = const { Cell::new(0) };
}

/// Counts how often it was parsed on this thread.
struct Counted(u32);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PARSED.set(PARSED.get() + 1);
        u32::deserialize(deserializer).map(Self)
    }
}

fn ask(amount: u32) -> Ask {
    post("/payments").key("k").json(&json!(amount))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn plain(
    State(effects): State<Effects>,
    axum::Json(Counted(amount)): axum::Json<Counted>,
) -> String {
    format!("{} of {amount}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(
    State(effects): State<Effects>,
    axum::Json(Counted(amount)): axum::Json<Counted>,
) -> String {
    format!("{} of {amount}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn generic<T: DeserializeOwned + Send>(
    State(effects): State<Effects>,
    axum::Json(_new): axum::Json<T>,
) -> String {
    format!("{} of {}", effects.happen(), std::any::type_name::<T>())
}

/// A retry is answered without its body being parsed, whether the handler is generic or not.
#[tokio::test]
async fn the_body_of_a_retry_is_not_parsed_again() {
    let effects = Effects::default();
    for app in [
        payments(&memory(), effects.clone(), plain),
        payments(&memory(), effects.clone(), inline),
        payments(&memory(), effects.clone(), generic::<Counted>),
    ] {
        let (before, parsed) = (effects.count(), PARSED.get());
        let first = ask(7).send(&app).await;
        assert_eq!(first.status, 200);
        assert_eq!((effects.count(), PARSED.get()), (before + 1, parsed + 1));
        for _ in 0..3 {
            let again = ask(7).send(&app).await;
            assert!(again.is_replayed() && again.body == first.body, "{again:?}");
        }
        assert_eq!((effects.count(), PARSED.get()), (before + 1, parsed + 1));
    }
}

/// Another body under the key is judged as before: first by its own extractor, then by the guard.
#[tokio::test]
async fn the_body_of_another_request_is_parsed_before_it_is_refused() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), plain);
    ask(7).send(&app).await;
    let broken = post("/payments").key("k").json(&json!("much")).send(&app).await;
    assert_eq!(broken.status, 422);
    assert_ne!(broken.header("content-type"), "application/problem+json", "axum's own answer");
    ask(8).send(&app).await.assert_problem(422, "key_reused");
    assert!(ask(7).send(&app).await.is_replayed());
    assert_eq!(effects.count(), 1);
}

/// Where the attribute says what makes two requests the same, their bodies may differ.
#[tokio::test]
async fn a_body_that_the_fingerprint_leaves_out_is_parsed_each_time() {
    #[idempotent(key = header("Idempotency-Key"), fingerprint = 1)]
    async fn any_body(
        State(effects): State<Effects>,
        axum::Json(Counted(amount)): axum::Json<Counted>,
    ) -> String {
        format!("{} of {amount}", effects.happen())
    }
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), any_body);
    ask(7).send(&app).await;
    assert_eq!(ask(8).send(&app).await.text(), "1 of 7");
    assert_eq!(post("/payments").key("k").json(&json!("much")).send(&app).await.status, 422);
    assert_eq!(effects.count(), 1);
}

/// Takes the body of those only who sign it. Its name is that of axum's, which says nothing.
struct Json<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = StatusCode;

    async fn from_request(request: Request, state: &S) -> Result<Self, StatusCode> {
        if !request.headers().contains_key("x-signature") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let axum::Json(body) = axum::Json::from_request(request, state)
            .await
            .map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)?;
        Ok(Self(body))
    }
}

type Signed = Json<u32>;

/// Another's extractor around axum's.
struct Wrapped(u32);

impl<S: Send + Sync> FromRequest<S> for Wrapped {
    type Rejection = StatusCode;

    async fn from_request(request: Request, state: &S) -> Result<Self, StatusCode> {
        Json::from_request(request, state).await.map(|Json(amount)| Self(amount))
    }
}

/// Who may ask: the last argument, and not of the body.
struct Member;

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        let signed = parts.headers.contains_key("x-signature");
        if signed { Ok(Self) } else { Err(StatusCode::UNAUTHORIZED) }
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn signed(State(effects): State<Effects>, Json(amount): Json<u32>) -> String {
    format!("{} of {amount}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn aliased(State(effects): State<Effects>, Json(amount): Signed) -> String {
    format!("{} of {amount}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn wrapped(State(effects): State<Effects>, Wrapped(amount): Wrapped) -> String {
    format!("{} of {amount}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn members(State(effects): State<Effects>, _: Member) -> String {
    format!("{}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn members_inline(State(effects): State<Effects>, Member: Member) -> String {
    format!("{}", effects.happen())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn of_any<T: FromRequest<Effects, M> + Send, M: Send + 'static>(
    State(effects): State<Effects>,
    _taken: T,
) -> String {
    format!("{}", effects.happen())
}

/// CASES 18: an extractor that checks who asks is asked for every request, so that nobody gets the
/// answer of another by knowing their key.
#[tokio::test]
async fn an_extractor_that_does_more_than_read_the_body_is_asked_each_time() {
    let effects = Effects::default();
    let router = |runtime: &Idempotency, route| {
        Router::new()
            .route("/payments", route)
            .with_state(effects.clone())
            .layer(Extension(runtime.clone()))
    };
    for app in [
        payments(&memory(), effects.clone(), signed),
        payments(&memory(), effects.clone(), aliased),
        payments(&memory(), effects.clone(), wrapped),
        payments(&memory(), effects.clone(), members),
        payments(&memory(), effects.clone(), members_inline),
        router(&memory(), axum::routing::post(of_any::<Json<u32>, _>)),
        router(&memory(), axum::routing::post(of_any::<Member, _>)),
    ] {
        let before = effects.count();
        let first = ask(7).header("x-signature", "1").send(&app).await;
        assert_eq!(first.status, 200, "{first:?}");
        let stranger = ask(7).send(&app).await;
        assert_eq!(stranger.status, 401);
        assert!(stranger.body.is_empty(), "{stranger:?}");
        assert!(ask(7).header("x-signature", "1").send(&app).await.is_replayed());
        assert_eq!(effects.count(), before + 1);
    }
}

/// What a body is said to be is in no fingerprint: a retry that says otherwise is refused as before.
#[tokio::test]
async fn a_retry_that_says_its_body_is_no_json_is_refused_by_its_extractor() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), plain);
    ask(7).send(&app).await;
    let of_type = |value: &str| post("/payments").key("k").header("content-type", value).body("7");
    assert_eq!(post("/payments").key("k").body("7").send(&app).await.status, 415);
    assert_eq!(of_type("text/plain").send(&app).await.status, 415);
    for json in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        assert!(of_type(json).send(&app).await.is_replayed(), "{json}");
    }
    assert!(of_type("application/ld+json").send(&app).await.is_replayed());
    assert_eq!(effects.count(), 1);
}

/// The attempt of a handler whose last argument is taken late is that of its own request.
#[tokio::test]
async fn a_handler_whose_last_argument_is_taken_late_knows_its_attempt() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn numbered(attempt: Attempt, body: String) -> String {
        format!("{} {} {body}", attempt.number(), attempt.is_guarded())
    }
    let app =
        Router::new().route("/payments", axum::routing::post(numbered)).layer(Extension(memory()));
    let ask = || post("/payments").key("k").body("body");
    assert_eq!(ask().send(&app).await.text(), "1 true body");
    assert!(ask().send(&app).await.is_replayed());
}

/// An argument that is read from the body alone is what axum makes of the request, and so is its
/// rejection: the same answers with the attribute and without, whatever the body.
#[tokio::test]
async fn what_is_read_late_is_what_axum_makes_of_the_request() {
    async fn text(body: String) -> String {
        format!("{} {}", body.len(), body.trim())
    }
    async fn bytes(body: axum::body::Bytes) -> String {
        body.len().to_string()
    }
    async fn json(axum::Json(Counted(amount)): axum::Json<Counted>) -> String {
        amount.to_string()
    }
    // What is wrong deep inside is said with the path to it.
    async fn deep(axum::Json(rows): axum::Json<Vec<(u8, [Counted; 2])>>) -> String {
        rows.len().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn guarded_text(body: String) -> String {
        format!("{} {}", body.len(), body.trim())
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn guarded_bytes(body: axum::body::Bytes) -> String {
        body.len().to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn guarded_json(axum::Json(Counted(amount)): axum::Json<Counted>) -> String {
        amount.to_string()
    }
    #[idempotent(key = header("Idempotency-Key"))]
    async fn guarded_deep(axum::Json(rows): axum::Json<Vec<(u8, [Counted; 2])>>) -> String {
        rows.len().to_string()
    }
    let bare = Router::new()
        .route("/deep", axum::routing::post(deep))
        .route("/text", axum::routing::post(text))
        .route("/bytes", axum::routing::post(bytes))
        .route("/json", axum::routing::post(json))
        .layer(DefaultBodyLimit::disable());
    let runtime = Idempotency::builder(MemoryStore::new()).max_request_bytes(usize::MAX).build();
    let guarded = Router::new()
        .route("/deep", axum::routing::post(guarded_deep))
        .route("/text", axum::routing::post(guarded_text))
        .route("/bytes", axum::routing::post(guarded_bytes))
        .route("/json", axum::routing::post(guarded_json))
        .layer(Extension(runtime.unwrap()))
        .layer(DefaultBodyLimit::disable());
    // More than axum takes where nothing says how much.
    let large = [vec![b' '; 3 << 20], b"7".to_vec()].concat();
    let bodies: [&[u8]; 11] = [
        b"7",
        b"",
        b"7 7",
        b"{",
        b"\"much\"",
        b"\xff\xfe",
        "é".as_bytes(),
        &large,
        b"[[1, [7, 8]], [2, [7, 8]]]",
        b"[[1, [7, 8]], [2, [7, \"much\"]]]",
        b"[[1, [7, 8]]] and more",
    ];
    for path in ["/text", "/bytes", "/json", "/deep"] {
        for (nth, body) in bodies.iter().enumerate() {
            let ask = || {
                let ask = post(path).key(&format!("{path}-{nth}"));
                ask.header("content-type", "application/json").body(body.to_vec())
            };
            let [plain, first, again] = [&bare, &guarded, &guarded].map(|app| (app, ask()));
            let plain = plain.1.send(plain.0).await;
            for (app, ask) in [first, again] {
                let answer = ask.send(app).await;
                assert_eq!(answer.status, plain.status, "{path} {nth}");
                assert_eq!(answer.body, plain.body, "{path} {nth}");
                assert_eq!(answer.header("content-type"), plain.header("content-type"));
            }
        }
    }
}
