//! Row "outcome": which answers are recorded, and which release the key.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use http_body_util::BodyExt as _;
use idempotent_runtime::{
    Attempt, DoNotRecord, Idempotency, KeyState, MemoryStore, NoEffect, RecordRule, idempotent,
};
use idempotent_tests::{Fault, Faulty, Gate, Step, post};

use crate::kit::{
    Effects, End, Frames, Gated, Script, all_wait, answering, every_path, memory, pay, pay_gated,
    payments, scripted, spawn,
};

#[idempotent(key = header("Idempotency-Key"), record = final)]
async fn record_final(State(script): State<Script>) -> Response {
    script.run()
}

#[idempotent(key = header("Idempotency-Key"), record = success)]
async fn record_success(State(script): State<Script>) -> Response {
    script.run()
}

#[idempotent(key = header("Idempotency-Key"), record = all)]
async fn record_all(State(script): State<Script>) -> Response {
    script.run()
}

/// Each status, and whether `final`, `success` and `all` record it.
const STATUSES: [(u16, [bool; 3]); 37] = [
    (200, [true, true, true]),
    (201, [true, true, true]),
    (202, [true, true, true]),
    (204, [true, true, true]),
    (206, [true, true, true]),
    (299, [true, true, true]),
    (301, [true, false, true]),
    (303, [true, false, true]),
    (304, [true, false, true]),
    (400, [true, false, true]),
    (401, [false, false, true]),
    (403, [true, false, true]),
    (404, [true, false, true]),
    (407, [false, false, true]),
    (408, [false, false, true]),
    (409, [true, false, true]),
    (410, [true, false, true]),
    (422, [true, false, true]),
    (425, [false, false, true]),
    (411, [false, false, true]),
    (412, [false, false, true]),
    (413, [false, false, true]),
    (415, [false, false, true]),
    (417, [false, false, true]),
    (421, [false, false, true]),
    (423, [false, false, true]),
    (424, [true, false, true]),
    (426, [false, false, true]),
    (428, [false, false, true]),
    (431, [false, false, true]),
    (429, [false, false, true]),
    (499, [true, false, true]),
    (500, [false, false, true]),
    (502, [false, false, true]),
    (503, [false, false, true]),
    (504, [false, false, true]),
    (599, [false, false, true]),
];

#[derive(Clone, Copy, Debug)]
enum Rule {
    Default,
    Final,
    Success,
    All,
    /// Of the runtime, for a handler that has none of its own.
    Runtime(RecordRule),
}

fn app(rule: Rule, script: Script) -> Router {
    match rule {
        Rule::Default => payments(&memory(), script, scripted),
        Rule::Final => payments(&memory(), script, record_final),
        Rule::Success => payments(&memory(), script, record_success),
        Rule::All => payments(&memory(), script, record_all),
        Rule::Runtime(rule) => {
            let runtime = Idempotency::builder(MemoryStore::new()).record(rule).build().unwrap();
            payments(&runtime, script, scripted)
        }
    }
}

/// Every status under every rule: recorded and replayed, or released and executed again.
#[tokio::test]
async fn each_status_is_recorded_or_released_as_the_rule_says() {
    let rules = [
        (Rule::Default, 0),
        (Rule::Final, 0),
        (Rule::Success, 1),
        (Rule::All, 2),
        (Rule::Runtime(RecordRule::Success), 1),
        (Rule::Runtime(RecordRule::All), 2),
    ];
    for (rule, column) in rules {
        for (status, recorded) in STATUSES {
            let code = StatusCode::from_u16(status).unwrap();
            let script = Script::new(move |number| (code, number.to_string()));
            let effects = script.effects.clone();
            let app = app(rule, script);
            let first = post("/payments").key("k").send(&app).await;
            let again = post("/payments").key("k").send(&app).await;
            let recorded = recorded[column];
            assert_eq!((first.status, first.text()), (code, "1"), "{rule:?}");
            assert_eq!(again.status, code);
            assert_eq!(again.is_replayed(), recorded, "{rule:?} {status}");
            assert_eq!(effects.count(), if recorded { 1 } else { 2 }, "{rule:?} {status}");
        }
    }
}

/// What stands at the handler wins over what stands at the runtime.
#[tokio::test]
async fn the_rule_of_the_handler_wins_over_that_of_the_runtime() {
    let runtime = Idempotency::builder(MemoryStore::new()).record(RecordRule::All).build().unwrap();
    let script = Script::new(|_| StatusCode::BAD_GATEWAY);
    let app = payments(&runtime, script.clone(), record_final);
    post("/payments").key("k").send(&app).await;
    post("/payments").key("k").send(&app).await;
    assert_eq!(script.effects.count(), 2);
}

/// A key that was released is free at once, as the next attempt.
#[tokio::test]
async fn a_transient_outcome_releases_the_key_at_once() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(effects): State<Effects>, attempt: Attempt) -> (StatusCode, String) {
        let status = match effects.happen() {
            1..4 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CREATED,
        };
        (status, attempt.number().to_string())
    }
    for (path, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), create);
        for attempt in 1..=4 {
            let answer = post("/payments").key("k").send(&app).await;
            assert_eq!(answer.text(), attempt.to_string(), "{path}");
            let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
            let released =
                matches!(state, KeyState::Released { attempt: last, .. } if last == attempt);
            assert_eq!(released, attempt < 4, "{path}: {state:?}");
        }
    }
}

/// A `404` of now that need not be one tomorrow.
#[tokio::test]
async fn an_answer_marked_do_not_record_is_given_and_executed_again() {
    for status in [200, 201, 404, 409, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        let (app, effects) =
            answering(move |number| (status, DoNotRecord, [("x-kept", "1")], number.to_string()));
        for number in 1..=3 {
            let answer = post("/payments").key("k").send(&app).await;
            assert_eq!((answer.status, answer.text()), (status, &*number.to_string()));
            assert_eq!(answer.header("x-kept"), "1");
            assert!(!answer.is_replayed());
        }
        assert_eq!(effects.count(), 3);
    }
}

/// The marks win over `record = all` too.
#[tokio::test]
async fn no_rule_records_an_answer_that_is_marked() {
    let script = Script::new(|number| match number {
        1 => (DoNotRecord, "not recorded").into_response(),
        2 => (NoEffect, "no effect").into_response(),
        _ => "recorded".into_response(),
    });
    let app = payments(&memory(), script, record_all);
    for text in ["not recorded", "no effect", "recorded", "recorded"] {
        assert_eq!(post("/payments").key("k").send(&app).await.text(), text);
    }
}

/// CASES 52: `halt` is told by the handler itself that nothing happened, and lets the key go.
#[tokio::test]
async fn an_answer_marked_no_effect_releases_the_key_under_halt_and_another_does_not() {
    #[idempotent(key = header("Idempotency-Key"), on_abandoned = halt)]
    async fn create(State(script): State<Script>) -> Response {
        script.run()
    }
    for (path, runtime) in every_path() {
        let script = Script::new(|number| match number {
            1 | 2 => (StatusCode::BAD_GATEWAY, NoEffect, number.to_string()).into_response(),
            _ => (StatusCode::BAD_GATEWAY, number.to_string()).into_response(),
        });
        let app = payments(&runtime, script.clone(), create);
        for number in ["1", "2", "3"] {
            let answer = post("/payments").key("k").send(&app).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (502, number), "{path}");
        }
        let refused = post("/payments").key("k").send(&app).await;
        refused.assert_problem(409, "outcome_unknown");
        assert_eq!(refused.json()["retryable"], false);
        assert_eq!(script.effects.count(), 3, "{path}");
    }
}

/// An answer that breaks half-way, as it passes.
async fn assert_breaks(app: &Router, status: u16) {
    let broken = post("/payments").key("k").response(app).await;
    assert_eq!(
        (broken.status().as_u16(), broken.headers()["x-kept"].to_str().unwrap()),
        (status, "1")
    );
    let (read, error) = read_to_error(broken.into_body()).await;
    assert_eq!(read, "half of it");
    assert!(error.contains("connection reset by peer"), "{error}");
}

fn breaking(status: u16) -> Response {
    let body = Frames::body(&["half", " of it"], End::Error);
    Response::builder().status(status).header("x-kept", "1").body(body).unwrap()
}

/// CASES 65: a success whose body breaks off has had its effect: it passes as it would without us, and
/// is not executed again.
#[tokio::test(start_paused = true)]
async fn a_success_that_breaks_half_way_passes_and_is_not_executed_again() {
    #[idempotent(key = header("Idempotency-Key"), spawn = false)]
    async fn inline(State(script): State<Script>) -> Response {
        script.run()
    }
    for (path, runtime) in every_path() {
        for is_inline in [false, true] {
            let script = Script::new(|_| breaking(201));
            let app = match is_inline {
                false => payments(&runtime, script.clone(), scripted),
                true => payments(&memory(), script.clone(), inline),
            };
            assert_breaks(&app, 201).await;
            for _ in 0..2 {
                let retry = post("/payments").key("k").send(&app).await;
                retry.assert_problem(409, "not_replayable");
            }
            assert_eq!(script.effects.count(), 1, "{path} {is_inline}");
        }
    }
}

/// CASES 65: nothing of it passes before that is recorded.
#[tokio::test(start_paused = true)]
async fn what_breaks_half_way_does_not_pass_unrecorded() {
    let store = Faulty::new(MemoryStore::new());
    let script = Script::new(|_| breaking(201));
    let app = payments(&Idempotency::new(store.clone()), script.clone(), scripted);
    let gate = Gate::new();
    store.next(Step::Complete, Fault::Hold(gate.clone()));
    let first = tokio::spawn({
        let app = app.clone();
        async move { post("/payments").key("k").response(&app).await.status() }
    });
    gate.reached().await;
    all_wait().await;
    assert!(!first.is_finished());
    gate.open();
    assert_eq!(first.await.unwrap(), StatusCode::CREATED);
    post("/payments").key("k").send(&app).await.assert_problem(409, "not_replayable");
    assert_eq!(script.effects.count(), 1);
}

/// CASES 37: a transient answer whose body breaks half-way passes as it would without us, and its
/// retry runs.
#[tokio::test]
async fn an_answer_that_breaks_half_way_is_passed_on_and_not_recorded() {
    let (app, effects) = answering(|number| match number {
        1 => breaking(502),
        _ => Response::new(axum::body::Body::from("whole")),
    });
    assert_breaks(&app, 502).await;
    let retry = post("/payments").key("k").send(&app).await;
    assert_eq!(retry.text(), "whole");
    assert!(!retry.is_replayed());
    assert!(post("/payments").key("k").send(&app).await.is_replayed());
    assert_eq!(effects.count(), 2);
}

/// What a client reads of a body before it breaks.
async fn read_to_error(mut body: axum::body::Body) -> (String, String) {
    let mut read = Vec::new();
    loop {
        match body.frame().await.expect("an error, not an end") {
            Ok(frame) => read.extend(frame.into_data().unwrap()),
            Err(error) => return (String::from_utf8(read).unwrap(), error.to_string()),
        }
    }
}

/// A store that answers at once is believed no more than any other: what it does not take is not so.
#[tokio::test(start_paused = true)]
async fn an_owner_whose_key_was_forgotten_answers_what_another_has_recorded() {
    let store = MemoryStore::new();
    let (late, other) = (Gated::default(), Effects::default());
    let owner = Idempotency::new(store.clone());
    let app = payments(&owner, late.clone(), pay_gated);
    let elsewhere = payments(&Idempotency::new(store), other.clone(), pay);
    let request = spawn(&app, post("/payments").key("k"));
    late.gate.reached().await;
    assert!(owner.forget(&None::<&str>, "POST /payments", "k", true).await.unwrap());
    for _ in 0..2 {
        // Another answer than the owner's.
        other.happen();
    }
    let recorded = post("/payments").key("k").send(&elsewhere).await;
    assert_eq!(recorded.text(), "payment 3");
    late.gate.open();
    assert_eq!(request.await.unwrap().text(), "payment 3");
    assert_eq!(late.effects.count(), 1);
}

#[idempotent(key = header("Idempotency-Key"))]
async fn says_recorded(attempt: Attempt) -> (StatusCode, &'static str) {
    attempt.recording().expect("it is guarded").begin();
    (StatusCode::CREATED, "in a transaction that never was")
}

/// After `record_in` has begun only what the store confirms is answered, whatever store it is.
#[tokio::test(start_paused = true)]
async fn an_answer_said_to_be_recorded_is_not_given_where_the_store_has_none() {
    for (path, runtime) in every_path() {
        let app = payments(&runtime, (), says_recorded);
        let answer = post("/payments").key("k").send(&app).await;
        answer.assert_problem(500, "not_committed");
        let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        assert!(matches!(state, KeyState::Released { .. }), "{path}: {state:?}");
    }
}
