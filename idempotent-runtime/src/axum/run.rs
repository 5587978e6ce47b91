//! The one call that the attribute writes.

use std::{
    future::Future,
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

/// What is left to do for a request.
enum Ready<F> {
    /// Run it as if there were no attribute. Boxed, because few requests go past the guard, and all
    /// would have to carry it.
    Direct(Pin<Box<F>>),
    Answered(Box<Response>),
    Guard(Idempotency, Answering<Box<Response>>),
}

/// Guards what `make` makes, which runs in a task of its own as soon as it has to wait.
///
/// Not an async function: what is frozen of a request is used up here, and its future stays small. The
/// body is made where it is kept, so that it is moved once, and not at all where a record answers.
pub fn run<M, F, R>(
    call: Call,
    make: M,
    reply: fn(R) -> Response,
) -> impl Future<Output = Outcome<R>> + Send
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    Run(Some(match call.step() {
        Step::Direct => Ready::Direct(Box::pin(make())),
        Step::Answer(response) => Ready::Answered(response),
        Step::Guard(runtime, call) => {
            let answering = runtime.engine.answer(call, Work { make, reply });
            Ready::Guard(runtime, answering)
        }
    }))
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

/// A request on its way to its answer; `None` once it was given.
struct Run<F>(Option<Ready<F>>);

impl<F: Future> Future for Run<F> {
    type Output = Outcome<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(Ready::Direct(body)) => body.as_mut().poll(cx).map(Outcome::of),
            Some(Ready::Guard(runtime, answering)) => {
                let answer = answering.poll(&runtime.engine, cx);
                answer.map(|answer| Outcome::answered(response(answer, runtime)))
            }
            answered => match answered.take() {
                Some(Ready::Answered(response)) => Poll::Ready(Outcome::answered(response)),
                _ => panic!("polled after it was over"),
            },
        }
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
