//! The one call that the attribute writes.

use std::future::Future;

use axum::response::Response;

use super::{
    answer::{Shape, problem_response, response, verdict},
    call::{Call, Step},
    outcome::Outcome,
};

/// Guards `body`, which runs in a task of its own.
pub async fn run<F, R>(call: Call, body: F, reply: fn(R) -> Response) -> Outcome<R>
where
    F: Future<Output = R> + Send + 'static,
    R: 'static,
{
    match call.step() {
        Step::Direct => Outcome::of(body.await),
        Step::Answer(problem, runtime) => {
            Outcome::answered(problem_response(problem, runtime.as_ref()))
        }
        Step::Guard(guarding) => {
            if let Some(answer) = guarding.recall() {
                return Outcome::answered(response(answer, &guarding.runtime));
            }
            let (runtime, call) = match guarding.into_call() {
                Ok(call) => call,
                Err(problem) => return Outcome::answered(problem_response(problem, None)),
            };
            let (engine, shape) = (runtime.engine.clone(), Shape::of(&call));
            let work =
                Box::pin(async move { verdict(reply(body.await), shape, &engine.settings).await });
            // Boxed, so that the future of a handler that replays stays small.
            let answer = Box::pin(runtime.engine.answer(call, work)).await;
            Outcome::answered(response(answer, &runtime))
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
        Step::Answer(problem, runtime) => {
            Outcome::answered(problem_response(problem, runtime.as_ref()))
        }
        Step::Guard(guarding) => {
            if let Some(answer) = guarding.recall() {
                return Outcome::answered(response(answer, &guarding.runtime));
            }
            let (runtime, call) = match guarding.into_call() {
                Ok(call) => call,
                Err(problem) => return Outcome::answered(problem_response(problem, None)),
            };
            let shape = Shape::of(&call);
            let work = async { verdict(reply(body.await), shape, runtime.settings()).await };
            Outcome::answered(response(runtime.engine.answer_inline(call, work).await, &runtime))
        }
    }
}
