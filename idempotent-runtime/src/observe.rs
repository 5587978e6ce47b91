//! What an operator sees: one log line and one count for each request.

use std::{collections::HashSet, sync::Mutex};

use crate::{key::StorageKey, operation::OperationName, refusal::Refusal, sync::lock};

/// How many hints are given at the most: a client may choose the method of a route for any.
const MAX_HINTS: usize = 1024;

/// Says how requests were answered.
pub(crate) struct Observer {
    store: &'static str,
    /// What each operation was told once.
    hinted: Mutex<HashSet<(Hint, OperationName)>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hint {
    Scope,
    EmptyScope,
    NoCaller,
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

    /// Whether an operation is told something for the first time.
    fn is_first(&self, hint: Hint, operation: &OperationName) -> bool {
        let mut hinted = lock(&self.hinted);
        // Most are told already: the name is not copied for them.
        let key = (hint, operation.clone());
        !hinted.contains(&key) && hinted.len() < MAX_HINTS && hinted.insert(key)
    }

    fn hint_scope(&self, operation: &OperationName) {
        if self.is_first(Hint::Scope, operation) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "a key was reused (422). This operation has no `scope`, so callers are told apart by \
                 their credentials, and a retry with refreshed credentials looks like another caller: \
                 set `scope`. Said once for each operation"
            );
        }
    }

    /// Nothing in the request says who asks.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn hint_no_caller(&self, operation: &OperationName) {
        if self.is_first(Hint::NoCaller, operation) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "this operation has no `scope`, and a request came without credentials: its callers \
                 cannot be told apart, and one who sends the key and the content of another gets the \
                 other's response. Write `scope = …` (the user or tenant) into the attribute, or name \
                 the header that says who asks in `IdempotencyBuilder::credentials`. Write `shared` \
                 where everybody may share keys. Said once for each operation"
            );
        }
    }

    pub(crate) fn hint_empty_scope(&self, operation: &OperationName) {
        if self.is_first(Hint::EmptyScope, operation) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "the `scope` of a call is empty and is ignored: it would have been one scope for \
                 everybody. Make it the user or tenant, or refuse calls that have none. Said once for \
                 each operation"
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
