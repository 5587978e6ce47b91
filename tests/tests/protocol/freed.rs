//! What leaves its key free for a corrected request.

use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use idempotent_runtime::{Attempt, DoNotRecord, Idempotency, NoEffect, idempotent};
use idempotent_tests::{Answer, post};

use crate::kit::{every_path, payments};

/// Answers what `first` says to the body `wrong`, and 201 with the number of its attempt to any other.
#[derive(Clone, Copy)]
struct Rejects(fn() -> Response);

impl Rejects {
    fn answer(self, attempt: &Attempt, body: &[u8]) -> Response {
        match body {
            b"wrong" => (self.0)(),
            _ => (StatusCode::CREATED, format!("attempt {}", attempt.number())).into_response(),
        }
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn pay(State(rejects): State<Rejects>, attempt: Attempt, body: Bytes) -> Response {
    rejects.answer(&attempt, &body)
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(State(rejects): State<Rejects>, attempt: Attempt, body: Bytes) -> Response {
    rejects.answer(&attempt, &body)
}

#[idempotent(key = header("Idempotency-Key"), record = success)]
async fn successes(State(rejects): State<Rejects>, attempt: Attempt, body: Bytes) -> Response {
    rejects.answer(&attempt, &body)
}

#[derive(Clone, Copy)]
enum Handler {
    Pay,
    Inline,
    Successes,
}

/// The answers to a wrong request and to the corrected one under the same key.
async fn corrected(
    handler: Handler,
    runtime: &Idempotency,
    first: fn() -> Response,
) -> [Answer; 2] {
    let app = match handler {
        Handler::Pay => payments(runtime, Rejects(first), pay),
        Handler::Inline => payments(runtime, Rejects(first), inline),
        Handler::Successes => payments(runtime, Rejects(first), successes),
    };
    let ask = |body: &'static str| post("/payments").key("k").body(body).send(&app);
    [ask("wrong").await, ask("right").await]
}

async fn assert_free(handler: Handler, first: fn() -> Response) {
    for (path, runtime) in every_path() {
        let [wrong, right] = corrected(handler, &runtime, first).await;
        assert!(wrong.status.is_client_error(), "{wrong:?}");
        assert_eq!(right.text(), "attempt 1", "{path}: {wrong:?} {right:?}");
    }
}

async fn assert_reused(handler: Handler, first: fn() -> Response) {
    for (_, runtime) in every_path() {
        let [_, right] = corrected(handler, &runtime, first).await;
        right.assert_problem(422, "key_reused");
    }
}

/// CASES 63: the handler says that nothing happened.
#[tokio::test]
async fn corrected_input_runs_after_an_answer_without_effect() {
    for handler in [Handler::Pay, Handler::Inline, Handler::Successes] {
        assert_free(handler, || (StatusCode::BAD_REQUEST, NoEffect, "no").into_response()).await;
    }
}

/// CASES 63: under `record = success` every 4xx frees its key.
#[tokio::test]
async fn corrected_input_runs_after_any_client_error_where_only_successes_are_recorded() {
    let errors: [fn() -> Response; 4] = [
        || StatusCode::BAD_REQUEST.into_response(),
        || StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        || StatusCode::CONFLICT.into_response(),
        || StatusCode::TOO_MANY_REQUESTS.into_response(),
    ];
    for first in errors {
        assert_free(Handler::Successes, first).await;
    }
}

/// CASES 63, 64: by their definition the request was not applied, and another one is asked for.
#[tokio::test]
async fn statuses_that_ask_for_another_request_leave_the_key_free() {
    let errors: [fn() -> Response; 12] = [
        || StatusCode::UNAUTHORIZED.into_response(),
        || StatusCode::PROXY_AUTHENTICATION_REQUIRED.into_response(),
        || StatusCode::LENGTH_REQUIRED.into_response(),
        || StatusCode::PRECONDITION_FAILED.into_response(),
        || StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        || StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
        || StatusCode::EXPECTATION_FAILED.into_response(),
        || StatusCode::MISDIRECTED_REQUEST.into_response(),
        || StatusCode::LOCKED.into_response(),
        || StatusCode::UPGRADE_REQUIRED.into_response(),
        || StatusCode::PRECONDITION_REQUIRED.into_response(),
        || StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
    ];
    for first in errors {
        for handler in [Handler::Pay, Handler::Inline] {
            assert_free(handler, first).await;
        }
    }
}

/// CASES 64: whoever signs in again sends other credentials, and is no stranger to their key.
#[tokio::test]
async fn a_client_that_signs_in_again_after_a_401_runs() {
    let first = || StatusCode::UNAUTHORIZED.into_response();
    for (_, runtime) in every_path() {
        let app = payments(&runtime, Rejects(first), pay);
        let stale = post("/payments").key("k").body("wrong").header("authorization", "stale");
        assert_eq!(stale.send(&app).await.status, StatusCode::UNAUTHORIZED);
        let fresh = || post("/payments").key("k").body("right").header("authorization", "fresh");
        assert_eq!(fresh().send(&app).await.text(), "attempt 1");
        assert!(fresh().send(&app).await.is_replayed());
    }
}

/// What may have had its effect, or is the operation's outcome, keeps its key.
#[tokio::test]
async fn everything_else_keeps_its_key_for_the_same_request() {
    let kept: [fn() -> Response; 6] = [
        || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        || StatusCode::TOO_MANY_REQUESTS.into_response(),
        || (StatusCode::BAD_REQUEST, DoNotRecord).into_response(),
        || StatusCode::BAD_REQUEST.into_response(),
        || StatusCode::NOT_FOUND.into_response(),
        || StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    ];
    for first in kept {
        assert_reused(Handler::Pay, first).await;
    }
    assert_reused(Handler::Successes, || StatusCode::BAD_GATEWAY.into_response()).await;
}
