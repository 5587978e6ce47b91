//! A retry gets the same answer, and nothing happens.

use crate::{
    client::Answer,
    place::{Place, Spot, everywhere},
    server::Server,
};

everywhere![
    a_replay_equals_the_first_answer,
    a_quoted_key_is_the_same_key,
    the_simulate_header_does_not_make_another_request,
    a_cookie_is_not_replayed,
    another_caller_is_not_shown_the_answer,
    each_outcome_is_one_line_of_the_log,
];

/// The headers of an answer that a retry must get, too.
fn kept(answer: &Answer) -> Vec<(&str, &[u8])> {
    let per_answer = ["date", "idempotent-replayed", "cache-control"];
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut kept: Vec<_> = headers.filter(|(name, _)| !per_answer.contains(name)).collect();
    kept.sort_unstable();
    kept
}

async fn a_replay_equals_the_first_answer(server: Server) {
    let first = server.pay("a").answer().await;
    first.assert_paid(1);
    assert!(!first.is_replay());
    for _ in 0..3 {
        let replay = server.pay("a").answer().await;
        assert!(replay.is_replay());
        assert_eq!(replay.status, first.status);
        assert_eq!(kept(&replay), kept(&first));
        assert_eq!(replay.body, first.body);
        assert_eq!(replay.header("cache-control"), Some("no-store"));
    }
    assert_eq!(server.count().await, 1);
}

async fn a_quoted_key_is_the_same_key(server: Server) {
    server.pay("8e03978e-40d5").answer().await.assert_paid(1);
    assert!(server.pay(r#""8e03978e-40d5""#).answer().await.is_replay());
    assert_eq!(server.count().await, 1);
}

async fn the_simulate_header_does_not_make_another_request(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    assert!(server.pay("a").simulate("fail=503, panic").answer().await.is_replay());
    assert_eq!(server.count().await, 1);
}

/// CASES 20: a cookie is given to whoever caused it, and to nobody else.
async fn a_cookie_is_not_replayed(server: Server) {
    let first = server.pay("a").simulate("set-cookie").answer().await;
    assert!(first.header("set-cookie").unwrap().starts_with("session="));
    let replay = server.pay("a").simulate("set-cookie").answer().await;
    assert!(replay.is_replay());
    assert_eq!(replay.body, first.body);
    assert_eq!(replay.header("set-cookie"), None);
}

/// CASES 18: without a scope, the credentials say whose key it is.
async fn another_caller_is_not_shown_the_answer(server: Server) {
    server.pay("a").header("authorization", "Bearer one").answer().await.assert_paid(1);
    let other = server.pay("a").header("authorization", "Bearer two").answer().await;
    other.problem(422);
    assert_eq!(other.json()["code"], "key_reused");
}

async fn each_outcome_is_one_line_of_the_log(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    server.pay("a").answer().await.assert_paid(1);
    let other = r#"{"amount": 1, "currency": "USD"}"#;
    server.post("/payments").key("a").json(other).answer().await.problem(422);
    server.get("/health").answer().await;
    server.logged("answered", 4).await;
    let log = server.log();
    for (outcome, request) in [
        ("outcome=\"executed\"", "status=201 replayed=false"),
        ("outcome=\"replayed\"", "status=201 replayed=true"),
        ("outcome=\"key_reused\"", "status=422 replayed=false"),
    ] {
        let lines = |text| log.iter().filter(|line| line.contains(text)).count();
        assert_eq!((lines(outcome), lines(request)), (1, 1), "{log:#?}");
    }
}

/// The key is the client's secret: whoever knows it can ask for the answer.
#[tokio::test]
async fn a_key_is_neither_logged_nor_echoed() {
    for place in Place::ALL {
        if let Some(spot) = Spot::new(place) {
            is_neither_logged_nor_echoed(spot.start(&["--log", "trace"]).await).await;
        }
    }
}

async fn is_neither_logged_nor_echoed(server: Server) {
    server.pay("s3cret").simulate("panic").no_answer().await;
    server.pay("s3cret").simulate("fail=503").answer().await.problem(503);
    let answers = [server.pay("s3cret").answer().await, server.pay("s3cret").answer().await];
    let reused = server.post("/payments").key("s3cret").json("{}").answer().await;
    let invalid = server.pay("s3cret s3cret").answer().await;
    for answer in answers.into_iter().chain([reused, invalid]) {
        assert!(!format!("{answer:?}").contains("s3cret"), "{answer:?}");
    }
    server.logged("answered", 6).await;
    assert!(!server.log().concat().contains("s3cret"), "{:#?}", server.log());
}
