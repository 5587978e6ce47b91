//! Row "outcome": a handler that panics.

use axum::{Router, extract::State};
use http::StatusCode;
use idempotent_runtime::{KeyState, idempotent};
use idempotent_tests::{Answer, post};
use tokio::task::JoinHandle;

use crate::kit::{Effects, Gated, Script, all_wait, every_path, memory, payments, scripted, spawn};

#[idempotent(key = header("Idempotency-Key"))]
async fn detached(State(gated): State<Gated>) -> (StatusCode, String) {
    panics_first(gated).await
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(State(gated): State<Gated>) -> (StatusCode, String) {
    panics_first(gated).await
}

async fn panics_first(gated: Gated) -> (StatusCode, String) {
    let paid = gated.pay().await;
    assert!(gated.effects.count() > 1, "out of luck");
    paid
}

fn client(app: &Router) -> JoinHandle<Answer> {
    spawn(app, post("/payments").key("k"))
}

#[track_caller]
fn assert_panicked(client: Result<Answer, tokio::task::JoinError>) {
    let panic = client.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"out of luck"));
}

/// CASES 28: the caller sees the panic as without us, those who wait are told, and the key is free.
#[tokio::test(start_paused = true)]
async fn a_panic_goes_to_its_caller_and_frees_the_key() {
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        panic_once(&payments(&runtime, gated.clone(), detached), &gated, path).await;
    }
    for (path, runtime) in every_path() {
        let gated = Gated::default();
        panic_once(&payments(&runtime, gated.clone(), inline), &gated, path).await;
        let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        assert!(matches!(state, KeyState::Completed { .. }), "{path}");
    }
}

async fn panic_once(app: &Router, gated: &Gated, path: &str) {
    let first = client(app);
    gated.gate.reached().await;
    let waiting = [client(app), client(app), client(app)];
    all_wait().await;
    gated.gate.open();
    assert_panicked(first.await);
    for waiting in waiting {
        let answer = waiting.await.unwrap();
        answer.assert_problem(500, "handler_panicked");
        assert_eq!(answer.json()["retryable"], true, "{path}");
        assert!(!answer.text().contains("luck"), "the message is the service's own");
    }
    assert_eq!(gated.effects.count(), 1, "nobody ran it again by himself");

    gated.gate.open();
    let retry = client(app).await.unwrap();
    assert_eq!((retry.status.as_u16(), retry.text()), (201, "payment 2"), "{path}");
    assert!(client(app).await.unwrap().is_replayed());
}

/// CASES 28: a panic before the handler ever waited.
#[tokio::test]
async fn a_panic_in_the_first_poll_frees_the_key() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(effects): State<Effects>) -> String {
        let number = effects.happen();
        assert!(number > 1, "out of luck");
        number.to_string()
    }
    for (path, runtime) in every_path() {
        let app = payments(&runtime, Effects::default(), create);
        assert_panicked(client(&app).await);
        let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        assert!(matches!(state, KeyState::Released { attempt: 1, .. }), "{path}: {state:?}");
        assert_eq!(client(&app).await.unwrap().text(), "2", "{path}");
    }
}

/// CASES 28: a response body that panics while it is read for the record.
#[tokio::test]
async fn a_panic_in_the_response_body_frees_the_key() {
    struct Panics;
    impl http_body::Body for Panics {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            panic!("out of luck")
        }
    }
    let script = Script::new(|number| match number {
        1 => axum::body::Body::new(Panics),
        _ => axum::body::Body::from("fine"),
    });
    let app = payments(&memory(), script, scripted);
    assert_panicked(client(&app).await);
    assert_eq!(client(&app).await.unwrap().text(), "fine");
}
