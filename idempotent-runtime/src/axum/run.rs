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

/// Guards `body`, which runs in a task of its own as soon as it has to wait.
///
/// Not an async function: what is frozen of a request is used up here, and its future stays small.
pub fn run<F, R>(
    call: Call,
    body: F,
    reply: fn(R) -> Response,
) -> impl Future<Output = Outcome<R>> + Send
where
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    Run(Some(match call.step() {
        Step::Direct => Ready::Direct(Box::pin(body)),
        Step::Answer(response) => Ready::Answered(response),
        Step::Guard(runtime, call) => {
            let answering = runtime.engine.answer(call, Work { body, reply });
            Ready::Guard(runtime, answering)
        }
    }))
}

/// The body of a handler, and what makes its answer.
struct Work<F, R> {
    body: F,
    reply: fn(R) -> Response,
}

impl<F, R> Begin<Box<Response>> for Work<F, R>
where
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    async fn begin(self, call: &engine::Call) -> Verdict<Box<Response>> {
        let answer = (self.reply)(self.body.await);
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

/// Guards `body`, which runs in the caller's task (`spawn = false`).
pub async fn run_inline<F, R>(call: Call, body: F, reply: fn(R) -> Response) -> Outcome<R>
where
    F: Future<Output = R>,
{
    match call.step() {
        Step::Direct => Outcome::of(body.await),
        Step::Answer(response) => Outcome::answered(response),
        Step::Guard(runtime, call) => {
            let (fingerprint, policy) = (call.fingerprint, call.policy.clone());
            let work = pin!(async {
                let shape = Shape { fingerprint: &fingerprint, policy: &policy };
                verdict(Box::new(reply(body.await)), shape).await
            });
            Outcome::answered(response(runtime.engine.answer_inline(call, work).await, &runtime))
        }
    }
}
