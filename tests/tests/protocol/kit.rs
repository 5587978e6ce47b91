//! What these tests share: handlers, routers, clients that go away, and bodies that misbehave.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Extension, Router,
    body::Body,
    extract::{FromRequestParts, State},
    handler::Handler,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, request::Parts};
use http_body::{Frame, SizeHint};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::{Answer, Faulty, Gate, Request};
use tokio::{task::JoinHandle, time::timeout};

/// How often the handlers of one test had their effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<AtomicUsize>);

impl Effects {
    /// Has the effect; tells how many there are now.
    pub(crate) fn happen(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The plainest guarded handler.
#[idempotent(key = header("Idempotency-Key"))]
pub(crate) async fn pay(State(effects): State<Effects>) -> (StatusCode, String) {
    (StatusCode::CREATED, format!("payment {}", effects.happen()))
}

/// A handler that waits at a gate before its effect.
#[derive(Clone, Default)]
pub(crate) struct Gated {
    pub(crate) effects: Effects,
    pub(crate) gate: Gate,
}

impl Gated {
    /// Waits at the gate, then has the effect. One execution too many fails rather than hangs.
    pub(crate) async fn pay(&self) -> (StatusCode, String) {
        let passed = timeout(Duration::from_hours(1), self.gate.pass()).await;
        passed.expect("the test lets this execution through");
        (StatusCode::CREATED, format!("payment {}", self.effects.happen()))
    }
}

#[idempotent(key = header("Idempotency-Key"))]
pub(crate) async fn pay_gated(State(gated): State<Gated>) -> (StatusCode, String) {
    gated.pay().await
}

/// What a handler answers the first time, the second time, …
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) effects: Effects,
    answer: Arc<dyn Fn(usize) -> Response + Send + Sync>,
}

impl Script {
    pub(crate) fn new<R: IntoResponse>(
        answer: impl Fn(usize) -> R + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(move |number| answer(number).into_response());
        Self { effects: Effects::default(), answer }
    }

    pub(crate) fn run(&self) -> Response {
        (self.answer)(self.effects.happen())
    }
}

#[idempotent(key = header("Idempotency-Key"))]
pub(crate) async fn scripted(State(script): State<Script>) -> Response {
    script.run()
}

/// A handler whose answer is decided by `answer`, behind a router with a runtime of its own.
pub(crate) fn answering<R: IntoResponse>(
    answer: impl Fn(usize) -> R + Send + Sync + 'static,
) -> (Router, Effects) {
    let script = Script::new(answer);
    let effects = script.effects.clone();
    (payments(&memory(), script, scripted), effects)
}

/// A runtime that finds records in its own memory.
pub(crate) fn memory() -> Idempotency {
    Idempotency::new(MemoryStore::new())
}

/// A runtime that has to ask its store for everything.
pub(crate) fn asking() -> Idempotency {
    Idempotency::new(Faulty::new(MemoryStore::new()))
}

/// Every way in which a record can be found.
pub(crate) fn every_path() -> [(&'static str, Idempotency); 2] {
    [("in memory", memory()), ("in the store", asking())]
}

/// `POST /payments`.
pub(crate) fn payments<M, S>(runtime: &Idempotency, state: S, handler: impl Handler<M, S>) -> Router
where
    M: 'static,
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/payments", routing::post(handler))
        .layer(Extension(runtime.clone()))
        .with_state(state)
}

/// Sends from a task of its own. Aborting it is a client that hangs up.
pub(crate) fn spawn(app: &Router, request: Request) -> JoinHandle<Answer> {
    let app = app.clone();
    tokio::spawn(async move { request.send(&app).await })
}

/// A client that hangs up: its request's future is gone when this returns.
pub(crate) async fn hang_up(client: JoinHandle<Answer>) {
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
}

/// Resolves when every other task waits for something. Needs paused time, where the clock only moves
/// when nothing else can.
pub(crate) async fn all_wait() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Polls a future exactly once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Polls a request `polls` times while everything else goes on, then hangs up.
pub(crate) async fn give_up_after(polls: usize, app: &Router, request: Request) {
    let mut request = pin!(request.send(app));
    for _ in 0..polls {
        if poll_once(&mut request).await.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Who asks, by `X-User`. Nobody without it.
pub(crate) struct User(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let user = parts.headers.get("x-user");
        Ok(Self(user.map(|user| user.to_str().unwrap().to_owned())))
    }
}

const MORE: &[u8] = &[b'x'; 16_384];

/// A body of frames that ends as told.
#[derive(Default)]
pub(crate) struct Frames {
    chunks: VecDeque<Frame<Bytes>>,
    end: End,
    announced: SizeHint,
    endless: usize,
    /// Whether the next frame is there, of a body whose frames have to be waited for.
    there: Option<bool>,
}

/// What follows the frames of a body.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Proper,
    /// The connection breaks.
    Error,
    /// Nothing, for ever.
    Stall,
    /// More of the same, for ever.
    Endless,
}

impl Frames {
    pub(crate) fn body(chunks: &[&'static str], end: End) -> Body {
        let data = |chunk: &&'static str| Frame::data(Bytes::from_static(chunk.as_bytes()));
        let chunks = chunks.iter().map(data).collect();
        Body::new(Self { chunks, end, ..Self::default() })
    }

    /// A body that announces its length and never begins.
    pub(crate) fn announcing(bytes: usize) -> Body {
        let announced = SizeHint::with_exact(bytes as u64);
        Body::new(Self { end: End::Stall, announced, ..Self::default() })
    }

    /// Each of its frames has to be waited for.
    pub(crate) fn with_trailers(chunks: &[&'static str], trailers: HeaderMap) -> Body {
        let data = |chunk: &&'static str| Frame::data(Bytes::from_static(chunk.as_bytes()));
        let mut chunks: VecDeque<_> = chunks.iter().map(data).collect();
        chunks.push_back(Frame::trailers(trailers));
        Body::new(Self { chunks, there: Some(false), ..Self::default() })
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(there) = &mut this.there {
            *there = !*there;
            if *there {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(frame) = this.chunks.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match this.end {
            End::Proper => Poll::Ready(None),
            End::Error => {
                this.end = End::Proper;
                Poll::Ready(Some(Err("connection reset by peer".into())))
            }
            End::Stall => Poll::Pending,
            End::Endless => {
                this.endless += MORE.len();
                assert!(this.endless < 64 * 1024 * 1024, "nobody stops reading");
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(MORE)))))
            }
        }
    }
    fn size_hint(&self) -> SizeHint {
        self.announced
    }
}
