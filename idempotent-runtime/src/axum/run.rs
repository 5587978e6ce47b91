//! The one call that the attribute writes.

use std::{future::Future, pin::pin};

use axum::response::Response;

use super::{
    answer::{Shape, problem_response, response, verdict},
    call::{Call, Step},
    outcome::Outcome,
};
use crate::{engine, idempotency::Idempotency};

/// What is left to do for a request.
enum Ready {
    Direct,
    Answered(Response),
    Guard(Idempotency, engine::Call),
}

fn ready(call: Call) -> Ready {
    let guarding = match call.step() {
        Step::Direct => return Ready::Direct,
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
pub async fn run<F, R>(call: Call, body: F, reply: fn(R) -> Response) -> Outcome<R>
where
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    match ready(call) {
        Ready::Direct => Outcome::of(body.await),
        Ready::Answered(response) => Outcome::answered(response),
        Ready::Guard(runtime, call) => {
            let (engine, shape) = (runtime.engine.clone(), Shape::of(&call));
            let work =
                move || async move { verdict(reply(body.await), shape, &engine.settings).await };
            let answer = runtime.engine.answer(call, work).await;
            Outcome::answered(response(answer, &runtime))
        }
    }
}

/// Guards `body`, which runs in the caller's task (`spawn = false`).
pub async fn run_inline<F, R>(call: Call, body: F, reply: fn(R) -> Response) -> Outcome<R>
where
    F: Future<Output = R>,
{
    match ready(call) {
        Ready::Direct => Outcome::of(body.await),
        Ready::Answered(response) => Outcome::answered(response),
        Ready::Guard(runtime, call) => {
            let shape = Shape::of(&call);
            let work = pin!(async { verdict(reply(body.await), shape, runtime.settings()).await });
            Outcome::answered(response(runtime.engine.answer_inline(call, work).await, &runtime))
        }
    }
}
