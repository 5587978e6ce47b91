//! Row "outcome": answers that cannot be given again.

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Answer, Fault, Faulty, Gate, Step, post};

use crate::kit::{
    Effects, End, Frames, Gated, Script, all_wait, answering, hang_up, memory, payments, scripted,
    spawn,
};

const CAP: usize = 1000;

/// A router whose answers are recorded up to [`CAP`] bytes.
fn capped(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> (Router, Effects) {
    let runtime = Idempotency::builder(MemoryStore::new()).max_response_bytes(CAP).build().unwrap();
    let script = Script::new(answer);
    let effects = script.effects.clone();
    (payments(&runtime, script, scripted), effects)
}

async fn ask(app: &Router) -> Answer {
    post("/payments").key("k").send(app).await
}

/// The retry of what cannot be given again: told so, and not executed.
async fn assert_not_replayable(app: &Router, effects: &Effects) {
    for _ in 0..2 {
        let retry = ask(app).await;
        retry.assert_problem(409, "not_replayable");
        assert_eq!(retry.json()["retryable"], false);
        assert!(!retry.headers.contains_key("retry-after"));
    }
    post("/payments").key("k").body("other").send(app).await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1);
}

/// Bodies of `size` bytes, in one piece and in many, of known length and not.
fn bodies(size: usize) -> [Body; 3] {
    let whole = Bytes::from(vec![b'x'; size]);
    let mut pieces = vec!["xxxxxxx"; size / 7];
    pieces.extend(["x"].repeat(size % 7));
    let unsized_ = Body::new(Body::from(whole.clone()).map_frame(|frame| frame));
    [Body::from(whole), unsized_, Frames::body(&pieces, End::Proper)]
}

/// CASES 21, 36: an answer of exactly the cap is replayed.
#[tokio::test]
async fn an_answer_of_exactly_the_cap_is_replayed() {
    for shape in 0..3 {
        let (app, effects) = capped(move |_| {
            let [whole, unsized_, pieces] = bodies(CAP);
            Response::new([whole, unsized_, pieces].into_iter().nth(shape).unwrap())
        });
        let first = ask(&app).await;
        assert_eq!(first.body.len(), CAP);
        let again = ask(&app).await;
        assert!(again.is_replayed() && again.body == first.body, "{shape}");
        assert_eq!(effects.count(), 1);
    }
}

/// CASES 21: one byte more passes untouched, and leaves a tombstone instead of a claim without end.
#[tokio::test]
async fn an_answer_over_the_cap_passes_whole_and_is_not_executed_again() {
    for size in [CAP + 1, 100 * CAP] {
        for shape in 0..3 {
            let (app, effects) = capped(move |_| {
                let body = bodies(size).into_iter().nth(shape).unwrap();
                (StatusCode::CREATED, [("set-cookie", "a=b"), ("x-kept", "1")], body)
                    .into_response()
            });
            let first = ask(&app).await;
            assert_eq!((first.status.as_u16(), first.body.len()), (201, size), "{shape}");
            assert!(first.body.iter().all(|byte| *byte == b'x'));
            assert_eq!((first.header("set-cookie"), first.header("x-kept")), ("a=b", "1"));
            assert_not_replayable(&app, &effects).await;
        }
    }
}

/// CASES 29: trailers of an answer over the cap pass too.
#[tokio::test]
async fn trailers_of_an_answer_over_the_cap_pass() {
    let (app, _) = capped(|_| {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-checksum"),
            HeaderValue::from_static("1"),
        )]);
        Response::new(Frames::with_trailers(&["0123456789"; CAP / 10 + 1], trailers))
    });
    let first = ask(&app).await;
    assert_eq!(first.body.len(), CAP + 10);
    assert_eq!(first.trailers.unwrap()["x-checksum"], "1");
}

/// CASES 21, 66: a stream is a tombstone whatever its size, and each of its chunks passes when it comes.
#[tokio::test(start_paused = true)]
async fn an_event_stream_passes_as_it_comes_and_is_not_executed_again() {
    for kind in [
        "text/event-stream",
        "text/event-stream; charset=utf-8",
        " Text/Event-Stream ;charset=utf-8",
        "application/x-ndjson",
        "Application/X-NDJSON; charset=utf-8",
        "application/jsonl",
        "application/json-seq",
        "application/stream+json;charset=utf-8",
        "multipart/x-mixed-replace; boundary=frame",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "application/grpc-web-text+proto",
        "APPLICATION/GRPC;x=y",
    ] {
        let (app, effects) = answering(move |_| {
            let body = Frames::body(&["data: 1\n\n", "data: 2\n\n"], End::Stall);
            ([("content-type", kind)], body)
        });
        let response = post("/payments").key("k").response(&app).await;
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::OK, &HeaderValue::from_static(kind))
        );
        let mut body = response.into_body();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event);
        }
        assert_not_replayable(&app, &effects).await;
    }
}

/// What only begins like the content type of a stream is recorded.
#[tokio::test]
async fn what_is_no_event_stream_is_recorded() {
    for kind in [
        "text/event",
        "text/event-streams",
        "text/event-stream-x; charset=utf-8",
        "application/json",
        "application/jsonlines",
        "application/x-ndjson2",
        "multipart/mixed",
        "application/grpcx",
        "text/plain; type=text/event-stream",
    ] {
        let (app, effects) = answering(move |_| ([("content-type", kind)], "all of it"));
        assert_eq!(ask(&app).await.text(), "all of it");
        assert!(ask(&app).await.is_replayed(), "{kind}");
        assert_eq!(effects.count(), 1);
    }
}

/// CASES 21: a stream past the cap passes chunk by chunk although it never ends.
#[tokio::test(start_paused = true)]
async fn an_endless_answer_passes_from_the_cap_on() {
    let (app, effects) = capped(|_| Response::new(Frames::body(&["begin"], End::Endless)));
    let mut body = post("/payments").key("k").response(&app).await.into_body();
    let mut read = Vec::new();
    while read.len() < 1_000_000 {
        read.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(read.starts_with(b"beginxxx"));
    assert!(read[5..].iter().all(|byte| *byte == b'x'), "nothing is lost where buffering ended");
    assert_not_replayable(&app, &effects).await;
}

/// CASES 21: after an upgrade the connection speaks another protocol, which nobody can replay.
#[tokio::test]
async fn an_upgrade_passes_and_is_not_executed_again() {
    let (app, effects) = answering(|_| {
        let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    });
    let first = ask(&app).await;
    assert_eq!((first.status.as_u16(), first.header("upgrade")), (101, "websocket"));
    assert_not_replayable(&app, &effects).await;
}

/// The tombstone stands before the first byte passes.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_stream_passes_before_its_tombstone_is_recorded() {
    for answer in [
        |_| ([("content-type", "text/event-stream")], "data: 1\n\n").into_response(),
        |_| vec![b'x'; CAP + 1].into_response(),
        |_| StatusCode::SWITCHING_PROTOCOLS.into_response(),
    ] as [fn(usize) -> Response; 3]
    {
        let store = Faulty::new(MemoryStore::new());
        let runtime = Idempotency::builder(store.clone()).max_response_bytes(CAP).build().unwrap();
        let script = Script::new(answer);
        let app = payments(&runtime, script.clone(), scripted);
        let gate = Gate::new();
        store.next(Step::Complete, Fault::Hold(gate.clone()));
        let first = spawn(&app, post("/payments").key("k"));
        gate.reached().await;
        all_wait().await;
        assert!(!first.is_finished());
        gate.open();
        assert!(first.await.unwrap().status.as_u16() <= 200);
        assert_not_replayable(&app, &script.effects).await;
    }
}

/// A tombstone that cannot be recorded: the client does not get what its retry would run again.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_tombstone_cannot_be_recorded_does_not_pass() {
    let store = Faulty::new(MemoryStore::new());
    let script = Script::new(|_| ([("content-type", "text/event-stream")], "data: 1\n\n"));
    let app = payments(&Idempotency::new(store.clone()), script.clone(), scripted);
    store.always(Step::Complete, Fault::Unreachable);
    let withheld = ask(&app).await;
    withheld.assert_problem(503, "store_unavailable");
    assert_eq!(withheld.header("retry-after"), "1");
    store.heal();
    all_wait().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_not_replayable(&app, &script.effects).await;
}

/// Those who waited for a stream are told like those who come later.
#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_stream_do_not_run_it() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(gated): State<Gated>) -> Response {
        gated.pay().await;
        ([("content-type", "text/event-stream")], "data: 1\n\n").into_response()
    }
    let gated = Gated::default();
    let app = payments(&memory(), gated.clone(), create);
    let first = spawn(&app, post("/payments").key("k"));
    gated.gate.reached().await;
    let waiting = spawn(&app, post("/payments").key("k"));
    all_wait().await;
    gated.gate.open();
    assert_eq!(first.await.unwrap().text(), "data: 1\n\n");
    waiting.await.unwrap().assert_problem(409, "not_replayable");
    assert_eq!(gated.effects.count(), 1);
}

/// A client that hangs up half-way through a stream changes nothing.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_to_its_end_is_not_executed_again() {
    let (app, effects) = answering(|_| {
        let body = Frames::body(&["data: 1\n\n"], End::Stall);
        ([("content-type", "text/event-stream")], body)
    });
    let reading = spawn(&app, post("/payments").key("k"));
    all_wait().await;
    hang_up(reading).await;
    assert_not_replayable(&app, &effects).await;
}

/// CASES 21: a transient answer over the cap, or a transient stream, is passed on and released.
#[tokio::test]
async fn a_transient_answer_over_the_cap_passes_and_is_executed_again() {
    let (app, effects) = capped(|number| match number {
        1 => (StatusCode::BAD_GATEWAY, vec![b'x'; CAP + 1]).into_response(),
        2 => (StatusCode::BAD_GATEWAY, [("content-type", "text/event-stream")], "data: 1\n\n")
            .into_response(),
        3 => (idempotent_runtime::DoNotRecord, vec![b'y'; CAP + 1]).into_response(),
        _ => "whole".into_response(),
    });
    let first = ask(&app).await;
    assert_eq!((first.status.as_u16(), first.body.len()), (502, CAP + 1));
    assert_eq!(ask(&app).await.text(), "data: 1\n\n");
    assert_eq!(ask(&app).await.body, vec![b'y'; CAP + 1]);
    assert_eq!(ask(&app).await.text(), "whole");
    assert!(ask(&app).await.is_replayed());
    assert_eq!(effects.count(), 4);
}

/// A cap of nothing records empty answers and makes tombstones of all others.
#[tokio::test]
async fn a_cap_of_zero_keeps_empty_answers() {
    for (body, replayed) in [("", true), ("x", false)] {
        let runtime =
            Idempotency::builder(MemoryStore::new()).max_response_bytes(0).build().unwrap();
        let script = Script::new(move |_| body);
        let app = payments(&runtime, script.clone(), scripted);
        assert_eq!(ask(&app).await.text(), body);
        assert_eq!(ask(&app).await.is_replayed(), replayed);
        assert_eq!(script.effects.count(), 1);
    }
}
