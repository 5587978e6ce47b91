//! The one call that the attribute writes.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::Response;

use super::{
    answer::{Shape, problem_response, response, verdict},
    call::{Call, Step},
    outcome::Outcome,
};
use crate::{
    engine::{self, Answering, Engine},
    idempotency::Idempotency,
};

/// What is left to do for a request: `D` to run it as if there were no attribute, `G` to guard it.
enum Ready<D, G> {
    Direct(D),
    Answered(Response),
    Guard(Idempotency, G),
}

fn ready(call: Call) -> Ready<(), engine::Call> {
    let guarding = match call.step() {
        Step::Direct => return Ready::Direct(()),
        Step::Answer(problem, runtime) => {
            return Ready::Answered(problem_response(problem, runtime.as_ref()));
        }
        Step::Guard(guarding) => guarding,
    };
    if let Some(answer) = guarding.recall() {
        return Ready::Answered(response(answer, &guarding.runtime));
    }
    match guarding.into_call() {
        Ok((runtime, call)) => Ready::Guard(runtime, call),
        Err(problem) => Ready::Answered(problem_response(problem, None)),
    }
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
    Run(Some(match ready(call) {
        // Boxed, because few requests go past the guard, and all would have to carry it.
        Ready::Direct(()) => Ready::Direct(Box::pin(body)),
        Ready::Answered(response) => Ready::Answered(response),
        Ready::Guard(runtime, call) => {
            let (engine, shape) = (Arc::clone(&runtime.engine), Shape::of(&call));
            let begin =
                move || async move { verdict(reply(body.await), shape, &engine.settings).await };
            let answering = Engine::answer(Arc::clone(&runtime.engine), call, begin);
            Ready::Guard(runtime, answering)
        }
    }))
}

/// A request on its way to its answer; `None` once it was given.
struct Run<F>(Option<Ready<Pin<Box<F>>, Answering<Response>>>);

impl<F: Future> Future for Run<F> {
    type Output = Outcome<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(Ready::Direct(body)) => body.as_mut().poll(cx).map(Outcome::of),
            Some(Ready::Guard(runtime, answering)) => {
                let answer = Pin::new(answering).poll(cx);
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
    match ready(call) {
        Ready::Direct(()) => Outcome::of(body.await),
        Ready::Answered(response) => Outcome::answered(response),
        Ready::Guard(runtime, call) => {
            let shape = Shape::of(&call);
            let work = pin!(async { verdict(reply(body.await), shape, runtime.settings()).await });
            Outcome::answered(response(runtime.engine.answer_inline(call, work).await, &runtime))
        }
    }
}
