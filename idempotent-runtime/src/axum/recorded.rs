//! `Recorded<R>`: an answer that stands in the handler's own transaction.

use std::{error::Error, fmt, marker::PhantomData};

use axum::response::{IntoResponse, Response};

use super::answer::{Shape, problem_response, verdict};
use crate::{
    engine::Verdict,
    flight::Landing,
    http::problem::Problem,
    record::Record,
    recording::{RecordError, Recording},
    refusal::Refusal,
    step::{StepError, StepRefusal},
    store::StoreError,
};

/// An answer whose record stands in the handler's own transaction: commit, then return it.
pub struct Recorded<R> {
    response: Response,
    of: PhantomData<fn() -> R>,
}

impl<R: IntoResponse> Recorded<R> {
    /// An answer without a record, where nothing is guarded.
    pub fn unguarded(answer: R) -> Self {
        Self::of(answer.into_response())
    }

    fn of(response: Response) -> Self {
        Self { response, of: PhantomData }
    }
}

impl Recording<'_> {
    /// Reads a handler's answer: its record, and the answer to return.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotFinal`], [`RecordError::NotRecordable`] when the answer is not one to record.
    pub async fn answer<R: IntoResponse>(
        self,
        answer: R,
    ) -> Result<(Record, Recorded<R>), RecordError> {
        let execution = self.execution();
        let response = answer.into_response();
        let status = response.status();
        let shape = Shape { fingerprint: &execution.fingerprint, policy: &execution.policy };
        match verdict(Box::new(response), shape).await {
            Verdict::Final { record, answer } if !record.is_tombstone() => {
                Ok((record, Recorded::of(*answer)))
            }
            Verdict::Transient { shared: Landing::Transient(Some(_)), .. } => {
                Err(RecordError::NotFinal(status))
            }
            Verdict::Final { .. } | Verdict::Transient { .. } => {
                let max = execution.policy.settings.max_response_bytes;
                Err(RecordError::NotRecordable { max })
            }
        }
    }
}

impl<R> IntoResponse for Recorded<R> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<R> fmt::Debug for Recorded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

impl IntoResponse for StepError {
    fn into_response(self) -> Response {
        // What a store refuses is told of the store, not of each request.
        let error = &self as &dyn Error;
        if let StepRefusal::Store(_) = self.reason() {
            tracing::debug!(error, "a step was refused");
        } else {
            tracing::error!(error, "a step was refused");
        }
        let problem = match self.reason() {
            StepRefusal::Store(StoreError::Full) => Refusal::StoreFull.into(),
            StepRefusal::Store(_) => Refusal::StoreUnavailable.into(),
            _ => Problem::StepRefused,
        };
        *problem_response(problem, None)
    }
}

impl IntoResponse for RecordError {
    fn into_response(self) -> Response {
        tracing::error!(error = &self as &dyn Error, "an outcome was not recorded");
        *problem_response(Refusal::NotCommitted.into(), None)
    }
}
