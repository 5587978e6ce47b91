//! The one call that the attribute writes.

use std::{
    fmt,
    future::Future,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::response::Response;

use super::{
    answer::{Shape, response, verdict},
    call::{Call, Step},
    outcome::Outcome,
};
use crate::{
    boxed::boxed,
    engine::{self, Answering, Begin, Verdict},
    idempotency::Idempotency,
};

/// The body of a handler.
type BoxBody<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// A request on its way to its answer.
#[allow(unnameable_types)] // generated code awaits it
pub struct Run<R>(Ready<R>);

enum Ready<R> {
    /// Run it as if there were no attribute.
    Direct(BoxBody<R>),
    Answered(Box<Response>),
    Guard(Idempotency, Answering<Box<Response>>),
    /// It was given.
    Over,
}

/// Guards what `make` makes, which runs in a task of its own as soon as it has to wait.
///
/// Not an async function: what is frozen of a request is used up here, and its future stays small. The
/// body is made where it is kept, so that it is moved once, and not at all where a record answers.
#[inline]
pub fn run<M, F, R>(call: Call, make: M, reply: fn(R) -> Response) -> Run<R>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    Run(match call.step() {
        Step::Direct => Ready::Direct(boxed(make)),
        Step::Answer(response) => Ready::Answered(response),
        Step::Guard(runtime, call) => begin(runtime, call, for_many(make), reply),
    })
}

/// With debug assertions, one type for all handlers that return an `R`: what follows is made for each type,
/// which would be most of what a guarded handler takes to build.
#[cfg(debug_assertions)]
fn for_many<M, F, R>(make: M) -> Box<dyn FnOnce() -> BoxBody<R> + Send>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    Box::new(move || boxed(make))
}

/// Where the code is optimised, the type itself: a body is then made where the engine keeps it.
#[cfg(not(debug_assertions))]
fn for_many<M>(make: M) -> M {
    make
}

#[inline]
fn begin<M, F, R>(
    runtime: Idempotency,
    call: engine::Call,
    make: M,
    reply: fn(R) -> Response,
) -> Ready<R>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    let answering = runtime.engine.answer(call, Work { make, reply });
    Ready::Guard(runtime, answering)
}

/// What makes the body of a handler, and what makes its answer.
struct Work<M, R> {
    make: M,
    reply: fn(R) -> Response,
}

impl<M, F, R> Begin<Box<Response>> for Work<M, R>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    async fn begin(self, call: &engine::Call) -> Verdict<Box<Response>> {
        let answer = (self.reply)((self.make)().await);
        verdict(Box::new(answer), Shape::of(call)).await
    }
}

impl<R> Future for Run<R> {
    type Output = Outcome<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ready::Direct(body) => body.as_mut().poll(cx).map(Outcome::of),
            Ready::Guard(runtime, answering) => {
                let answer = answering.poll(&runtime.engine, cx);
                answer.map(|answer| Outcome::answered(response(answer, runtime)))
            }
            answered => match mem::replace(answered, Ready::Over) {
                Ready::Answered(response) => Poll::Ready(Outcome::answered(response)),
                _ => panic!("polled after it was over"),
            },
        }
    }
}

impl<R> fmt::Debug for Run<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Run")
    }
}

/// Guards what `make` makes, which runs in the caller's task (`spawn = false`). Boxed, so that its caller's
/// future stays small.
pub async fn run_inline<M, F, R>(call: Call, make: M, reply: fn(R) -> Response) -> Outcome<R>
where
    M: FnOnce() -> F,
    F: Future<Output = R>,
{
    match call.step() {
        Step::Direct => Outcome::of(boxed(make).await),
        Step::Answer(response) => Outcome::answered(response),
        Step::Guard(runtime, call) => {
            let (fingerprint, policy) = (call.fingerprint, call.policy.clone());
            let work = pin!(async {
                let shape = Shape { fingerprint: &fingerprint, policy: &policy };
                verdict(Box::new(reply(boxed(make).await)), shape).await
            });
            Outcome::answered(response(runtime.engine.answer_inline(call, work).await, &runtime))
        }
    }
}
