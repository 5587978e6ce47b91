//! Every directive of the `Simulate` header, and its retry.

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    place::{Place, at, everywhere},
    server::{PATIENCE, Server},
};

everywhere![
    delay_comes_before_the_effect,
    a_transient_failure_has_no_effect_and_the_retry_runs,
    a_final_failure_has_no_effect_and_is_replayed,
    an_answer_without_a_body_is_replayed,
    fail_once_fails_the_first_attempt_only,
    a_panic_before_the_effect_closes_the_connection_and_the_retry_pays,
    a_duplicate_of_a_panic_gets_a_problem_and_may_retry,
    a_dropped_answer_is_recorded_and_the_retry_gets_it,
    a_dropped_answer_is_not_a_single_byte,
    a_refund_takes_the_same_directives,
    a_large_answer_is_replayed_byte_for_byte,
    an_answer_over_the_cap_passes_and_is_not_run_again,
    a_stream_passes_and_is_not_run_again,
];

async fn delay_comes_before_the_effect(server: Server) {
    let sent = server.pay("a").simulate("delay=300ms").send();
    server.logged("simulated: delay", 1).await;
    assert_eq!(server.count().await, 0);
    sent.answer().await.assert_paid(1);
    assert!(server.pay("a").simulate("delay=300ms").answer().await.is_replay());
    assert_eq!(server.count().await, 1);
}

async fn a_transient_failure_has_no_effect_and_the_retry_runs(server: Server) {
    for (at, status) in [500, 503, 599, 408, 425, 429].into_iter().enumerate() {
        let key = at.to_string();
        let fail = format!("fail={status}");
        server.pay(&key).simulate(&fail).answer().await.problem(status);
        server.pay(&key).simulate(&fail).answer().await.problem(status);
        assert_eq!(server.count().await, at as u64);
        server.pay(&key).answer().await.assert_paid(3);
    }
}

async fn a_final_failure_has_no_effect_and_is_replayed(server: Server) {
    for status in [400, 402, 404, 409, 600] {
        let key = status.to_string();
        let first = server.pay(&key).simulate(&format!("fail={status}")).answer().await;
        first.problem(status);
        let retry = server.pay(&key).answer().await;
        assert!(retry.is_replay());
        assert_eq!((retry.status, retry.body), (first.status, first.body));
    }
    assert_eq!(server.count().await, 0);
}

/// CASES 6: an empty answer is an answer.
async fn an_answer_without_a_body_is_replayed(server: Server) {
    for status in [204, 304] {
        let key = status.to_string();
        for replayed in [false, true] {
            let answer = server.pay(&key).simulate(&format!("fail={status}")).answer().await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.is_replay(), replayed);
            assert!(answer.body.is_empty());
        }
    }
    assert_eq!(server.count().await, 0);
}

async fn fail_once_fails_the_first_attempt_only(server: Server) {
    let send = || server.pay("a").simulate("fail-once=503").answer();
    send().await.problem(503);
    assert_eq!(server.count().await, 0);
    send().await.assert_paid(2);
    let replay = send().await;
    replay.assert_paid(2);
    assert!(replay.is_replay());
    assert_eq!(server.count().await, 1);
}

/// CASES 28: a panic is no answer, and the key is free for the retry.
async fn a_panic_before_the_effect_closes_the_connection_and_the_retry_pays(server: Server) {
    server.pay("a").simulate("panic").no_answer().await;
    assert_eq!(server.count().await, 0);
    server.pay("a").answer().await.assert_paid(2);
    assert!(server.pay("a").answer().await.is_replay());
    assert_eq!(server.count().await, 1);
}

/// CASES 28: where the record is not part of the transaction, nobody but the handler can know that the
/// effect happened. Under `on_abandoned = rerun`, the default, a panic means that it is safe to run
/// again, and the effect happens twice; the limit that the README tells of.
async fn a_panic_after_the_effect_closes_the_connection_and_the_retry_runs_again(server: Server) {
    server.pay("a").simulate("panic-after").no_answer().await;
    assert_eq!(server.count().await, 1);
    server.pay("a").answer().await.assert_paid(2);
    assert!(server.pay("a").answer().await.is_replay());
    assert_eq!(server.count().await, 2);
}

#[tokio::test]
async fn a_panic_after_the_effect_is_a_limit_of_records_elsewhere() {
    for place in [Place::Memory, Place::SqliteRedis, Place::PostgresRedis] {
        at(place, a_panic_after_the_effect_closes_the_connection_and_the_retry_runs_again).await;
    }
}

/// CASES 28: the record was committed with the effect, so there is an answer, whatever happened to
/// the handler.
async fn a_panic_after_the_effect_is_answered_as_recorded(server: Server) {
    let first = server.pay("a").simulate("panic-after").answer().await;
    first.assert_paid(1);
    let retry = server.pay("a").answer().await;
    assert!(retry.is_replay());
    assert_eq!(retry.body, first.body);
    assert_eq!(server.count().await, 1);

    let refund = || server.post("/payments/1/refund").key("b").json(r#"{"amount": 400}"#);
    assert_eq!(refund().simulate("panic-after").answer().await.json()["refunded"], 400);
    assert_eq!(refund().answer().await.json()["refunded"], 400);
    assert_eq!(server.get("/payments/1").answer().await.json()["refunded"], 400);
}

#[tokio::test]
async fn a_panic_after_the_effect_is_none_of_records_in_the_transaction() {
    for place in [Place::Sqlite, Place::Postgres] {
        at(place, a_panic_after_the_effect_is_answered_as_recorded).await;
    }
}

/// CASES 28: those who waited for the handler that panicked are told so.
async fn a_duplicate_of_a_panic_gets_a_problem_and_may_retry(server: Server) {
    let first = server.pay("a").simulate("delay=500ms, panic").send();
    server.logged("simulated: delay", 1).await;
    let second = server.pay("a").simulate("panic").send();
    first.no_answer().await;
    // The second came while the first ran, or else it panicked itself.
    if let Ok(second) = second.result().await {
        second.problem(500);
        assert_eq!(second.json()["code"], "handler_panicked");
    }
    assert_eq!(server.count().await, 0);
    assert_eq!(server.pay("a").answer().await.status, StatusCode::CREATED);
}

async fn a_dropped_answer_is_recorded_and_the_retry_gets_it(server: Server) {
    server.pay("a").simulate("drop-answer").no_answer().await;
    assert_eq!(server.count().await, 1);
    // A client repeats its request as it was: the header stands there again.
    let retry = server.pay("a").simulate("drop-answer").answer().await;
    retry.assert_paid(1);
    assert!(retry.is_replay());
    assert_eq!(server.count().await, 1);
}

async fn a_dropped_answer_is_not_a_single_byte(server: Server) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let body = r#"{"amount": 1000, "currency": "USD"}"#;
    let head = "POST /payments HTTP/1.1\r\nHost: payments\r\nIdempotency-Key: a\r\n\
                Simulate: drop-answer\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "");
    assert_eq!(server.count().await, 1);
}

async fn a_refund_takes_the_same_directives(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    let refund = || server.post("/payments/1/refund").key("b").json(r#"{"amount": 400}"#);
    refund().simulate("fail-once=503").answer().await.problem(503);
    refund().simulate("drop-answer").no_answer().await;
    let retry = refund().answer().await;
    assert!(retry.is_replay());
    assert_eq!(retry.json()["refunded"], 400);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(server.get("/payments/1").answer().await.json()["refunded"], 400);
}

async fn a_large_answer_is_replayed_byte_for_byte(server: Server) {
    let first = server.pay("a").simulate("large=100000").answer().await;
    first.assert_paid(1);
    assert_eq!(first.body.len(), 100_000);
    let replay = server.pay("a").answer().await;
    assert!(replay.is_replay());
    assert_eq!(replay.body, first.body);
}

/// CASES 21: an answer over the cap passes, is not given again, and does not lock the key.
async fn an_answer_over_the_cap_passes_and_is_not_run_again(server: Server) {
    let first = server.pay("a").simulate("large=3000000").answer().await;
    first.assert_paid(1);
    assert_eq!(first.body.len(), 3_000_000);
    let retry = server.pay("a").answer().await;
    retry.problem(409);
    assert_eq!(retry.json()["code"], "not_replayable");
    assert_eq!(server.count().await, 1);
}

async fn a_stream_passes_and_is_not_run_again(server: Server) {
    let first = server.pay("a").simulate("stream").answer().await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.header("content-type"), Some("text/event-stream"));
    assert!(first.body.starts_with(b"event: payment\ndata: {\"id\":1,"));
    let retry = server.pay("a").answer().await;
    retry.problem(409);
    assert_eq!(retry.json()["code"], "not_replayable");
    assert_eq!(server.count().await, 1);
}

#[tokio::test]
async fn several_directives_may_stand_in_one_header_or_in_several() {
    let server = Server::start().await;
    let first = server.pay("a").simulate(" set-cookie ,large = 5000,").simulate("delay=1ms");
    let first = first.answer().await;
    first.assert_paid(1);
    assert_eq!(first.body.len(), 5000);
    assert!(first.header("set-cookie").is_some());
}

#[tokio::test]
async fn what_cannot_be_simulated_is_a_problem_and_claims_nothing() {
    let server = Server::start().await;
    let wrong = [
        "explode",
        "delay",
        "delay=",
        "delay=soon",
        "delay=61s",
        "fail",
        "fail=100",
        "fail=101",
        "fail=99",
        "fail=1000",
        "fail=teapot",
        "fail-once=",
        "panic=1",
        "large=-1",
        "large=1e9",
        "large=16777217",
        "stream, explode",
        "PANIC",
        "dél=1",
    ];
    for directives in wrong {
        let detail = server.pay("a").simulate(directives).answer().await.problem(400);
        assert!(detail.starts_with("Simulate: "), "{directives}: {detail}");
    }
    server.pay("a").answer().await.assert_paid(1);
}
