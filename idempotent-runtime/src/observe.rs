//! What an operator sees: one log line and one count for each request.

use std::{collections::HashSet, sync::Mutex};

use crate::{engine::Engine, key::StorageKey, operation::Operation, refusal::Refusal, sync::lock};

impl Engine {
    /// Says how a request was answered; of one whose client hung up, how it would have been.
    pub(crate) fn observe<T: AsRef<str>>(
        &self,
        operation: &Operation<T>,
        key: &StorageKey,
        has_scope: bool,
        outcome: &'static str,
    ) {
        tracing::debug!(
            target: "idempotent_runtime",
            %operation,
            key = %key.short(),
            outcome,
            "idempotent request"
        );
        count(operation, outcome, self.store().kind());
        if outcome == Refusal::KeyReused.code() && !has_scope {
            self.hinted.set_scope(operation);
        }
    }
}

/// Which operations were told once that a scope would help.
#[derive(Default)]
pub(crate) struct Hinted(Mutex<HashSet<String>>);

impl Hinted {
    fn set_scope<T: AsRef<str>>(&self, operation: &Operation<T>) {
        if lock(&self.0).insert(operation.to_string()) {
            tracing::warn!(%operation,
                "a key was reused (422). This operation has no `scope`, so callers are told apart by \
                 their credentials, and a retry with refreshed credentials looks like another caller: \
                 set `scope`. Said once for each operation");
        }
    }
}

#[cfg(feature = "metrics")]
fn count<T: AsRef<str>>(operation: &Operation<T>, outcome: &'static str, store: &'static str) {
    let operation = operation.to_string();
    metrics::counter!("idempotency_requests_total",
        "operation" => operation, "outcome" => outcome, "store" => store)
    .increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count<T>(_: &Operation<T>, _: &'static str, _: &'static str) {}
