//! What an operator sees: one log line and one count for each request.

use std::{collections::HashSet, sync::Mutex};

use crate::{key::StorageKey, operation::OperationName, refusal::Refusal, sync::lock};

/// Says how requests were answered.
pub(crate) struct Observer {
    store: &'static str,
    /// Which operations were told once that a scope would help.
    hinted: Mutex<HashSet<String>>,
}

impl Observer {
    pub(crate) fn new(store: &'static str) -> Self {
        Self { store, hinted: Mutex::default() }
    }

    /// Says how a request was answered; of one whose client hung up, how it would have been.
    pub(crate) fn answered(
        &self,
        operation: &OperationName,
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
        count(operation, outcome, self.store);
        if outcome == Refusal::KeyReused.code() && !has_scope {
            self.hint_scope(operation);
        }
    }

    fn hint_scope(&self, operation: &OperationName) {
        if lock(&self.hinted).insert(operation.to_string()) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "a key was reused (422). This operation has no `scope`, so callers are told apart by \
                 their credentials, and a retry with refreshed credentials looks like another caller: \
                 set `scope`. Said once for each operation"
            );
        }
    }
}

#[cfg(feature = "metrics")]
fn count(operation: &OperationName, outcome: &'static str, store: &'static str) {
    let operation = operation.to_string();
    metrics::counter!("idempotency_requests_total",
        "operation" => operation, "outcome" => outcome, "store" => store)
    .increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &OperationName, _: &'static str, _: &'static str) {}
