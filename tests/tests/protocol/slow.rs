//! Row "outcome": answers whose bodies take their time, and clients that do not wait for them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt as _;
use idempotent_runtime::{
    Attempt, DoNotRecord, Idempotency, KeyState, MemoryStore, PassThrough, RecordError, defaults,
    idempotent,
};
use idempotent_tests::{Answer, post};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, Interval, interval},
};

use crate::kit::{
    Effects, End, Frames, Script, all_wait, answering, every_path, hang_up, memory, payments,
    scripted, spawn,
};

const BEAT: Duration = Duration::from_millis(100);

/// How many bodies are alive.
#[derive(Clone, Default)]
struct Bodies(Arc<AtomicUsize>);

impl Bodies {
    fn alive(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A body that says a number each [`BEAT`], up to `last`.
    fn ticking(&self, last: usize) -> Body {
        self.0.fetch_add(1, Ordering::SeqCst);
        let beat = interval(BEAT);
        Body::new(Ticking { alive: self.0.clone(), beat, said: 0, last })
    }
}

struct Ticking {
    alive: Arc<AtomicUsize>,
    beat: Interval,
    said: usize,
    last: usize,
}

impl http_body::Body for Ticking {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if self.said == self.last {
            return Poll::Ready(None);
        }
        std::task::ready!(self.beat.poll_tick(cx));
        self.said += 1;
        Poll::Ready(Some(Ok(Frame::data(format!("{}\n", self.said).into()))))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(State(script): State<Script>) -> Response {
    script.run()
}

/// A router for `script`, detached or in its caller's task.
fn app(runtime: &Idempotency, is_inline: bool, script: Script) -> Router {
    match is_inline {
        false => payments(runtime, script, scripted),
        true => payments(runtime, script, inline),
    }
}

async fn ask(app: &Router) -> Answer {
    post("/payments").key("k").send(app).await
}

/// CASES 66: what has not ended after `capture_for` passes from then on, first what was read, then the
/// rest as it comes; and is not executed again.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_passes_after_capture_for_whole_and_is_not_executed_again() {
    const LAST: usize = 100;
    for (path, runtime) in every_path() {
        for is_inline in [false, true] {
            let bodies = Bodies::default();
            let script = Script::new({
                let bodies = bodies.clone();
                move |_| (StatusCode::CREATED, [("x-kept", "1")], bodies.ticking(LAST))
            });
            let app = app(&runtime, is_inline, script.clone());
            let key = if is_inline { "inline" } else { "detached" };
            let ask = || post("/payments").key(key);
            let began = Instant::now();
            let first = ask().response(&app).await;
            assert_eq!(began.elapsed().as_secs(), defaults::CAPTURE_FOR.as_secs(), "{path}");
            assert_eq!(
                (first.status(), first.headers()["x-kept"].to_str().unwrap()),
                (StatusCode::CREATED, "1")
            );
            ask().send(&app).await.assert_problem(409, "not_replayable");
            let whole = first.into_body().collect().await.unwrap().to_bytes();
            let said: Vec<_> = (1..=LAST).map(|number| number.to_string()).collect();
            assert_eq!(whole, said.join("\n") + "\n");
            assert_eq!(began.elapsed().as_secs(), 9, "it came as it was made");
            ask().send(&app).await.assert_problem(409, "not_replayable");
            assert_eq!((script.effects.count(), bodies.alive()), (1, 0));
        }
    }
}

/// A slow answer that ends in time is recorded, to the last byte.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_that_ends_in_time_is_replayed() {
    let bodies = Bodies::default();
    let (app, effects) = answering(move |_| Response::new(bodies.ticking(50)));
    let first = ask(&app).await;
    let again = ask(&app).await;
    assert!(again.is_replayed() && again.body == first.body);
    assert_eq!(effects.count(), 1);
}

/// The bound is a setting; with none at all, what has to be waited for passes at once.
#[tokio::test(start_paused = true)]
async fn capture_for_can_be_set() {
    for capture_for in [Duration::ZERO, Duration::from_secs(1), Duration::from_mins(1)] {
        let runtime =
            Idempotency::builder(MemoryStore::new()).capture_for(capture_for).build().unwrap();
        let script = Script::new(|_| Response::new(Frames::body(&["begin"], End::Stall)));
        let app = payments(&runtime, script, scripted);
        let began = Instant::now();
        let mut body = post("/payments").key("k").response(&app).await.into_body();
        assert_eq!(began.elapsed().as_secs(), capture_for.as_secs());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
    }
}

/// CASES 66: those who wait for a slow answer are told when it passes.
#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_slow_answer_do_not_run_it() {
    let (app, effects) = answering(|_| Response::new(Frames::body(&["begin"], End::Stall)));
    let first = spawn(&app, post("/payments").key("k"));
    all_wait().await;
    let began = Instant::now();
    ask(&app).await.assert_problem(409, "not_replayable");
    assert!(began.elapsed() <= defaults::CAPTURE_FOR);
    hang_up(first).await;
    assert_eq!(effects.count(), 1);
}

/// CASES 66: an answer that says so itself passes at once, whatever its type.
#[tokio::test(start_paused = true)]
async fn an_answer_marked_pass_through_passes_at_once() {
    for is_inline in [false, true] {
        let script = Script::new(|_| {
            (PassThrough, [("content-type", "text/plain")], Frames::body(&["begin"], End::Stall))
        });
        let app = app(&memory(), is_inline, script.clone());
        let began = Instant::now();
        let mut body = post("/payments").key("k").response(&app).await.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
        assert_eq!(began.elapsed(), Duration::ZERO);
        ask(&app).await.assert_problem(409, "not_replayable");
        assert_eq!(script.effects.count(), 1);
    }
}

/// A transient answer that is slow, or passes at once, is passed on and released.
#[tokio::test(start_paused = true)]
async fn a_slow_transient_answer_passes_and_is_executed_again() {
    let (app, effects) = answering(|number| {
        let body = Frames::body(&["begin"], End::Stall);
        match number {
            1 => (StatusCode::BAD_GATEWAY, body).into_response(),
            2 => (DoNotRecord, body).into_response(),
            3 => (DoNotRecord, PassThrough, body).into_response(),
            _ => "whole".into_response(),
        }
    });
    for status in [502, 200, 200] {
        let response = post("/payments").key("k").response(&app).await;
        assert_eq!(response.status(), status);
        let first = response.into_body().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "begin");
    }
    assert_eq!(ask(&app).await.text(), "whole");
    assert!(ask(&app).await.is_replayed());
    assert_eq!(effects.count(), 4);
}

/// CASES 67: a client that hangs up does not keep an endless body alive, nor its place.
#[tokio::test(start_paused = true)]
async fn the_client_of_an_endless_answer_hangs_up_and_its_place_is_free() {
    for is_inline in [false, true] {
        let runtime = Idempotency::builder(MemoryStore::new()).max_running(2).build().unwrap();
        let bodies = Bodies::default();
        let script = Script::new({
            let bodies = bodies.clone();
            move |number| match number {
                1 | 2 => Response::new(bodies.ticking(usize::MAX)),
                _ => "paid".into_response(),
            }
        });
        let app = app(&runtime, is_inline, script.clone());
        let ask = |key| post("/payments").key(key);
        let gone = [spawn(&app, ask("a")), spawn(&app, ask("b"))];
        all_wait().await;
        ask("c").send(&app).await.assert_problem(503, "too_many_running");
        for client in gone {
            hang_up(client).await;
        }
        if !is_inline {
            tokio::time::sleep(defaults::CAPTURE_FOR).await;
        }
        all_wait().await;
        assert_eq!(bodies.alive(), 0, "nobody reads on");
        assert_eq!(ask("c").send(&app).await.text(), "paid");
        if !is_inline {
            // Past `max_run` too: it was executed.
            tokio::time::sleep(2 * defaults::MAX_RUN).await;
            ask("a").send(&app).await.assert_problem(409, "not_replayable");
            assert_eq!(script.effects.count(), 3);
        }
    }
}

/// CASES 67: a body that always has another frame with nothing in it takes no thread for ever.
#[tokio::test]
async fn a_body_of_endless_nothing_is_not_read_for_ever() {
    struct Nothing;
    impl http_body::Body for Nothing {
        type Data = Bytes;
        type Error = axum::BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }
    let capture_for = Duration::from_millis(50);
    let runtime =
        Idempotency::builder(MemoryStore::new()).capture_for(capture_for).build().unwrap();
    let script = Script::new(|_| Response::new(Body::new(Nothing)));
    let app = payments(&runtime, script, scripted);
    drop(post("/payments").key("k").response(&app).await);
    ask(&app).await.assert_problem(409, "not_replayable");
}

/// CASES 67: over a socket, where the server learns that the client is gone.
#[tokio::test]
async fn a_connection_that_closes_drops_the_body_of_its_endless_answer() {
    let runtime = Idempotency::builder(MemoryStore::new())
        .max_running(2)
        .capture_for(Duration::from_millis(300))
        .build()
        .unwrap();
    let bodies = Bodies::default();
    let script = Script::new({
        let bodies = bodies.clone();
        move |number| match number {
            1 => Response::new(bodies.ticking(usize::MAX)),
            2 => ([("content-type", "application/x-ndjson")], bodies.ticking(usize::MAX))
                .into_response(),
            _ => "paid".into_response(),
        }
    });
    let app = payments(&runtime, script.clone(), scripted);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app.clone()).into_future());
    for (number, key) in ["a", "b"].into_iter().enumerate() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /payments HTTP/1.1\r\nhost: localhost\r\nidempotency-key: {key}\r\n\
             content-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        if number == 1 {
            // This one is on its way already.
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        } else {
            until(|| script.effects.count() == 1).await;
        }
        drop(stream);
    }
    until(|| bodies.alive() == 0).await;
    assert_eq!(post("/payments").key("c").send(&app).await.text(), "paid");
    for key in ["a", "b"] {
        let retry = post("/payments").key(key).send(&app).await;
        retry.assert_problem(409, "not_replayable");
    }
    assert_eq!(script.effects.count(), 3);
    server.abort();
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// CASES 66: what is recorded in the handler's own transaction is not waited for any longer either.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_cannot_be_recorded_by_its_handler() {
    #[idempotent(key = header("Idempotency-Key"))]
    async fn create(State(effects): State<Effects>, attempt: Attempt) -> Result<(), RecordError> {
        let recording = attempt.recording().expect("it is guarded");
        let body = match effects.happen() {
            1 => Frames::body(&["begin"], End::Stall),
            2 => Frames::body(&["begin"], End::Error),
            _ => Frames::body(&["begin"], End::Endless),
        };
        let refused = recording.answer(Response::new(body)).await;
        match refused {
            Err(refused @ RecordError::NotRecordable { .. }) => Err(refused),
            other => panic!("{other:?}"),
        }
    }
    let runtime = memory();
    let app = payments(&runtime, Effects::default(), create);
    for _ in 0..3 {
        let began = Instant::now();
        ask(&app).await.assert_problem(500, "not_committed");
        assert!(began.elapsed() <= defaults::CAPTURE_FOR + BEAT);
    }
    let state = runtime.inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
    assert!(matches!(state, KeyState::Released { attempt: 3, .. }), "{state:?}");
}
