//! Row "look-up": a record is answered as it was, byte for byte.

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Answer, Request, post};
use serde_json::json;

use crate::kit::{
    Effects, Frames, Gated, Script, all_wait, answering, asking, every_path, hang_up, memory, pay,
    pay_gated, payments, scripted, spawn,
};

const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum");

/// The headers of an answer without those that say that it is a replay.
fn own_headers(answer: &Answer) -> HeaderMap {
    let mut headers = answer.headers.clone();
    headers.remove("idempotent-replayed");
    headers.remove(header::CACHE_CONTROL);
    headers
}

#[track_caller]
fn assert_replay_of(replay: &Answer, first: &Answer) {
    assert!(replay.is_replayed() && !first.is_replayed(), "{replay:?}");
    assert_eq!(replay.status, first.status);
    assert_eq!(own_headers(replay), own_headers(first));
    assert_eq!(replay.body, first.body);
    assert_eq!(replay.trailers, first.trailers);
}

async fn twice(app: &Router) -> (Answer, Answer) {
    let ask = || post("/payments").key("k");
    (ask().send(app).await, ask().send(app).await)
}

/// CASES 2, 7: an honest retry is answered from the record, as often as it comes, on every path.
#[tokio::test]
async fn a_retry_gets_the_same_answer_and_has_no_effect() {
    for (path, runtime) in every_path() {
        let effects = Effects::default();
        let app = payments(&runtime, effects.clone(), pay);
        let ask = || post("/payments?from=app").key("k").json(&json!({"amount": 1000}));
        let first = ask().send(&app).await;
        assert_eq!((first.status.as_u16(), first.text()), (201, "payment 1"), "{path}");
        assert!(!first.headers.contains_key("idempotent-replayed"));
        for _ in 0..3 {
            assert_replay_of(&ask().send(&app).await, &first);
        }
        assert_eq!(effects.count(), 1, "{path}");
    }
}

/// CASES 6: a result that looks like nothing is a result.
#[tokio::test]
async fn falsy_results_are_replayed_like_any_other() {
    for runtime in [memory, asking] {
        for body in ["", "0", "false", "\"\"", "[]", "{}", "null", " ", "\0"] {
            for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
                let script = Script::new(move |_| (status, body));
                let effects = script.effects.clone();
                let app = payments(&runtime(), script, scripted);
                let (first, again) = twice(&app).await;
                assert_eq!((first.status, first.text()), (status, body));
                assert_replay_of(&again, &first);
                assert_eq!(effects.count(), 1, "{status} {body:?}");
            }
        }
    }
}

/// CASES 29: several values of one name keep their order; values that are no UTF-8 keep their bytes.
#[tokio::test]
async fn repeated_and_non_utf8_headers_are_replayed() {
    for (path, runtime) in every_path() {
        let script = Script::new(|number| {
            let mut response = format!("payment {number}").into_response();
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, HeaderValue::from_static("/payments/1"));
            for link in ["<c>; rel=next", "<a>", "<b>", "<a>"] {
                headers.append(header::LINK, HeaderValue::from_static(link));
            }
            headers.append("x-raw", HeaderValue::from_bytes(b"\xff\xfe\x80").unwrap());
            headers.append("x-raw", HeaderValue::from_static(""));
            response
        });
        let (first, again) = twice(&payments(&runtime, script, scripted)).await;
        assert_replay_of(&again, &first);
        let links: Vec<_> = again.headers.get_all(header::LINK).iter().collect();
        assert_eq!(links, ["<c>; rel=next", "<a>", "<b>", "<a>"], "{path}");
        let raw: Vec<_> =
            again.headers.get_all("x-raw").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(raw, [b"\xff\xfe\x80".as_slice(), b""], "{path}");
    }
}

/// CASES 29: trailers follow the body in a replay as in the answer itself.
#[tokio::test]
async fn trailers_are_replayed() {
    let (app, effects) = answering(|_| {
        let trailers = HeaderMap::from_iter([(CHECKSUM, HeaderValue::from_static("1234"))]);
        Response::new(Frames::with_trailers(&["pay", "ment"], trailers))
    });
    let (first, again) = twice(&app).await;
    assert_eq!(first.text(), "payment");
    assert_eq!(first.trailers.as_ref().unwrap()[&CHECKSUM], "1234");
    assert_replay_of(&again, &first);
    assert_eq!(effects.count(), 1);
}

/// CASES 29: an answer to `HEAD` tells a length and has no body, the second time too.
#[tokio::test]
async fn a_length_without_a_body_is_replayed() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn head(State(effects): State<Effects>) -> impl IntoResponse {
        effects.happen();
        ([(header::CONTENT_LENGTH, "1234")], Body::empty())
    }
    let effects = Effects::default();
    let app = Router::new()
        .route("/payments", routing::head(head))
        .layer(axum::Extension(memory()))
        .with_state(effects.clone());
    let ask = || Request::new(Method::HEAD, "/payments").key("k");
    let first = ask().send(&app).await;
    assert_eq!(first.header("content-length"), "1234");
    assert_replay_of(&ask().send(&app).await, &first);
    assert_eq!(effects.count(), 1);
}

/// CASES 20: what belongs to one answer is given once; everything else of it again.
#[tokio::test]
async fn per_response_headers_are_not_replayed() {
    let (app, _) = answering(|_| {
        [
            ("set-cookie", "session=ada"),
            ("date", "Sun, 22 Nov 2026 00:00:00 GMT"),
            ("server-timing", "db;dur=53"),
            ("x-request-id", "1"),
            ("traceparent", "00-0-0-00"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-kept", "1"),
        ]
    });
    let (first, again) = twice(&app).await;
    for name in ["set-cookie", "date", "server-timing", "x-request-id", "traceparent", "x-hop"] {
        assert!(first.headers.contains_key(name), "{name} is in the answer itself");
        assert!(!again.headers.contains_key(name), "{name} is replayed");
    }
    assert_eq!(again.header("x-kept"), "1");
}

/// CASES 20: nor do duplicates that waited get somebody's cookie.
#[tokio::test(start_paused = true)]
async fn a_duplicate_that_waited_gets_no_cookie() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(gated): State<Gated>) -> impl IntoResponse {
        ([("set-cookie", "session=ada"), ("x-kept", "1")], gated.pay().await)
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), create);
    let first = spawn(&app, post("/payments").key("k"));
    gated.gate.reached().await;
    let duplicate = spawn(&app, post("/payments").key("k"));
    all_wait().await;
    gated.gate.open();
    assert_eq!(first.await.unwrap().header("set-cookie"), "session=ada");
    let duplicate = duplicate.await.unwrap();
    assert!(!duplicate.headers.contains_key("set-cookie"));
    assert_eq!((duplicate.header("x-kept"), duplicate.text()), ("1", "payment 1"));
}

#[tokio::test]
async fn more_headers_can_be_kept_out_of_records() {
    let runtime = Idempotency::builder(MemoryStore::new())
        .do_not_record_headers([HeaderName::from_static("x-served-by")])
        .build()
        .unwrap();
    let script = Script::new(|_| [("x-served-by", "1"), ("set-cookie", "a=b")]);
    let (first, again) = twice(&payments(&runtime, script, scripted)).await;
    assert_eq!(first.header("x-served-by"), "1");
    assert!(again.is_replayed());
    assert!(!again.headers.contains_key("x-served-by"));
    assert!(!again.headers.contains_key("set-cookie"), "added to the list, not put in its place");
}

#[tokio::test]
async fn replays_are_not_cached_unless_the_answer_says_so_itself() {
    let (app, _) = answering(|_| "silent");
    let (first, again) = twice(&app).await;
    assert!(!first.headers.contains_key(header::CACHE_CONTROL));
    assert_eq!(again.header("cache-control"), "no-store");

    let (app, _) = answering(|_| [("cache-control", "private, max-age=60")]);
    let (first, again) = twice(&app).await;
    assert_eq!(first.header("cache-control"), "private, max-age=60");
    assert_eq!(again.header("cache-control"), "private, max-age=60");
}

/// A handler that says so itself is not believed: only a replay is marked.
#[tokio::test]
async fn the_mark_of_a_replay_is_ours() {
    let (app, _) = answering(|_| [("idempotent-replayed", "certainly")]);
    let (_, again) = twice(&app).await;
    let marks: Vec<_> = again.headers.get_all("idempotent-replayed").iter().collect();
    assert_eq!(marks, ["true"]);
}

/// CASES 13: an answer that nobody read is there for the retry.
#[tokio::test(start_paused = true)]
async fn an_answer_that_got_lost_is_given_to_the_retry() {
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), pay_gated);
    let lost = spawn(&app, post("/payments").key("k"));
    gated.gate.reached().await;
    hang_up(lost).await;
    gated.gate.open();
    all_wait().await;
    let retry = post("/payments").key("k").send(&app).await;
    assert!(retry.is_replayed());
    assert_eq!(retry.text(), "payment 1");
}
