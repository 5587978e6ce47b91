//! Request bodies that are too large, break, stall or lie: nothing is executed.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
};
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use idempotent_runtime::{Idempotency, KeyState, MemoryStore, idempotent};
use idempotent_tests::{Answer, Request, post};

use crate::kit::{Effects, End, Frames, all_wait, hang_up, memory, pay, payments};

const MIB: usize = 1024 * 1024;

#[idempotent(key = header("Idempotency-Key"))]
async fn measure(State(effects): State<Effects>, body: Bytes) -> String {
    effects.happen();
    body.len().to_string()
}

fn ask() -> Request {
    post("/payments").key("k")
}

fn large(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

/// A body whose length nobody knows before it was read.
fn unsized_body(bytes: usize) -> Body {
    let pieces: Vec<&'static str> = vec!["0123456789abcdef"; bytes / 16];
    Frames::body(&[pieces, vec!["x"; bytes % 16]].concat(), End::Proper)
}

fn limited(max_request_bytes: usize, limit: Option<DefaultBodyLimit>) -> (Router, Effects) {
    let runtime = Idempotency::builder(MemoryStore::new())
        .max_request_bytes(max_request_bytes)
        .build()
        .unwrap();
    let effects = Effects::default();
    let app = payments(&runtime, effects.clone(), measure);
    let app = match limit {
        Some(limit) => app.layer(limit),
        None => app,
    };
    (app, effects)
}

#[track_caller]
fn assert_too_large(answer: &Answer) {
    answer.assert_problem(413, "body_too_large");
    assert_eq!(answer.json()["retryable"], false);
}

/// CASES 37: 10 MB, whether its length is known or not.
#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_leaves_the_key_free() {
    let (runtime, effects) = (memory(), Effects::default());
    let app = payments(&runtime, effects.clone(), measure);
    assert_too_large(&ask().body(large(10 * MIB)).send(&app).await);
    assert_too_large(&ask().send_body(&app, unsized_body(10 * MIB)).await);
    let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
    assert!(matches!(state, KeyState::Absent));
    assert_eq!(ask().body("small").send(&app).await.text(), "5");
    assert_eq!(effects.count(), 1);
}

/// CASES 37: also where the handler takes no body at all.
#[tokio::test]
async fn a_body_that_no_argument_takes_is_bounded_too() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay);
    assert_too_large(&ask().body(large(10 * MIB)).send(&app).await);
    assert_too_large(&ask().send_body(&app, Frames::body(&[], End::Endless)).await);
    assert_eq!(effects.count(), 0);
}

/// CASES 37: a body that never ends is cut off at the bound.
#[tokio::test]
async fn a_body_that_never_ends_is_refused() {
    for (app, effects) in
        [limited(2 * MIB, None), limited(2 * MIB, Some(DefaultBodyLimit::disable()))]
    {
        assert_too_large(&ask().send_body(&app, Frames::body(&["begin"], End::Endless)).await);
        assert_eq!(effects.count(), 0);
    }
}

/// CASES 37: a body that breaks half-way was never a request.
#[tokio::test]
async fn a_body_that_breaks_half_way_is_refused_and_leaves_the_key_free() {
    for handler in 0..2 {
        let (runtime, effects) = (memory(), Effects::default());
        let app = match handler {
            0 => payments(&runtime, effects.clone(), measure),
            _ => payments(&runtime, effects.clone(), pay),
        };
        let answer = ask().send_body(&app, Frames::body(&["half"], End::Error)).await;
        answer.assert_problem(400, "body_unreadable");
        assert_eq!(effects.count(), 0);
        let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        assert!(matches!(state, KeyState::Absent));
        assert!(ask().body("whole").send(&app).await.status.is_success());
        assert_eq!(effects.count(), 1);
    }
}

/// CASES 37: a body that stalls holds up its own request and nobody else's: it has no claim.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_holds_no_claim() {
    let (runtime, effects) = (memory(), Effects::default());
    let app = payments(&runtime, effects.clone(), measure);
    let stalled = tokio::spawn({
        let app = app.clone();
        async move { ask().send_body(&app, Frames::body(&["half"], End::Stall)).await }
    });
    all_wait().await;
    assert!(!stalled.is_finished());
    assert_eq!(ask().body("whole").send(&app).await.text(), "5");
    hang_up(stalled).await;
    assert_eq!(effects.count(), 1);
}

/// The limit is the handler's own, and holds to the byte: the body is not limited twice.
#[tokio::test]
async fn the_default_limit_of_axum_holds_to_the_byte() {
    let app = payments(&memory(), Effects::default(), measure);
    assert_eq!(ask().body(large(2 * MIB)).send(&app).await.text(), (2 * MIB).to_string());
    assert_too_large(&ask().body(large(2 * MIB + 1)).send(&app).await);
    assert_eq!(post("/payments").key("l").send_body(&app, unsized_body(2 * MIB)).await.status, 200);
    let longer = post("/payments").key("m").send_body(&app, unsized_body(2 * MIB + 1)).await;
    assert_too_large(&longer);
}

/// CASES 37: of `DefaultBodyLimit` and `max_request_bytes` the smaller one holds.
#[tokio::test]
async fn the_smaller_one_of_both_limits_holds() {
    let max = |bytes| Some(DefaultBodyLimit::max(bytes));
    let cases = [
        (2 * MIB, max(10), 10),
        (2 * MIB, max(8 * MIB), 2 * MIB),
        (8 * MIB, max(3 * MIB), 3 * MIB),
        (8 * MIB, Some(DefaultBodyLimit::disable()), 8 * MIB),
        (8 * MIB, None, 2 * MIB),
        (10, None, 10),
        (10, Some(DefaultBodyLimit::disable()), 10),
    ];
    for (max_request_bytes, limit, holds) in cases {
        for whole in [true, false] {
            let (app, effects) = limited(max_request_bytes, limit);
            let send = async |bytes| {
                let body = if whole { Body::from(large(bytes)) } else { unsized_body(bytes) };
                ask().send_body(&app, body).await
            };
            assert_too_large(&send(holds + 1).await);
            assert_too_large(&send(holds + MIB).await);
            assert_eq!(effects.count(), 0);
            assert_eq!(
                send(holds).await.text(),
                holds.to_string(),
                "{max_request_bytes} {limit:?}"
            );
        }
    }
}

/// CASES 37: what announces itself as too large is refused before any of it is read.
#[tokio::test(start_paused = true)]
async fn a_body_that_announces_too_much_is_refused_unread() {
    let limits = [
        (10, None),
        (10, Some(DefaultBodyLimit::disable())),
        (8 * MIB, Some(DefaultBodyLimit::max(10))),
        (10, Some(DefaultBodyLimit::max(10))),
    ];
    for (max_request_bytes, limit) in limits {
        let (app, effects) = limited(max_request_bytes, limit);
        for bytes in [11, MIB, usize::MAX] {
            assert_too_large(&ask().send_body(&app, Frames::announcing(bytes)).await);
        }
        let (app, default) = limited(8 * MIB, None);
        assert_too_large(&ask().send_body(&app, Frames::announcing(2 * MIB + 1)).await);
        assert_eq!(effects.count() + default.count(), 0);
    }
}

/// CASES 37: a length that is not the body's own says nothing: what was sent is what counts.
#[tokio::test]
async fn a_length_header_that_lies_changes_nothing() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), measure);
    let send = async |length: &str, body: &'static str| {
        ask().header("content-length", length).body(body).send(&app).await
    };
    assert_eq!(send("3", "whole").await.text(), "5");
    assert!(send("99999999999999", "whole").await.is_replayed());
    assert!(send("-1", "whole").await.is_replayed());
    send("5", "other").await.assert_problem(422, "key_reused");
    assert_eq!(effects.count(), 1);
}

/// An empty body is a body: with and without frames it is one request.
#[tokio::test]
async fn an_empty_body_is_one_request_however_it_is_sent() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), measure);
    assert_eq!(ask().send(&app).await.text(), "0");
    for body in [Frames::body(&[], End::Proper), Frames::body(&["", ""], End::Proper)] {
        let again = ask().send_body(&app, body).await;
        assert_eq!((again.status, again.is_replayed()), (StatusCode::OK, true));
    }
    assert_eq!(effects.count(), 1);
}

/// One body is one request, wherever the network cut it.
#[tokio::test]
async fn one_body_is_one_request_however_it_was_cut() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), measure);
    assert_eq!(ask().body("one body").send(&app).await.text(), "8");
    for cut in [&["one body"] as &[&'static str], &["one", " body"], &["", "one b", "", "ody"]] {
        assert!(ask().send_body(&app, Frames::body(cut, End::Proper)).await.is_replayed());
    }
    assert_eq!(effects.count(), 1);
}

/// A body that finds out at its very end that it was tampered with.
#[derive(Default)]
struct Tampered(u8);

impl http_body::Body for Tampered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0 += 1;
        Poll::Ready(match self.0 {
            1 => Some(Ok(Frame::data(Bytes::from_static(b"{}")))),
            2 => Some(Err("the digest is another".into())),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0 > 0
    }
}

/// CASES 37: also where the error comes after all of the content.
#[tokio::test]
async fn a_body_that_fails_at_its_end_is_not_executed() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay);
    let answer = ask().send_body(&app, Body::new(Tampered::default())).await;
    answer.assert_problem(400, "body_unreadable");
    assert_eq!(effects.count(), 0);
}
