//! What an operator sees: one log line and one count for each request.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    key::StorageKey, operation::OperationName, refusal::Refusal, settings::Spec, sync::lock,
};

/// How many operations are hinted at their scope at the most: clients choose the method of a route for
/// any.
const MAX_HINTS: usize = 1024;

/// Says how requests were answered.
pub(crate) struct Observer {
    store: &'static str,
    /// Which operations were told once that a scope would help.
    hinted: Mutex<HashSet<OperationName>>,
    /// What each handler and function was told once: as many as there are attributes.
    told: Mutex<HashSet<(Hint, &'static str)>>,
    /// The handler that was told last, by its address, for one look instead of a lock.
    last_told: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hint {
    EmptyScope,
    NoCaller,
}

impl Observer {
    pub(crate) fn new(store: &'static str) -> Self {
        Self {
            store,
            hinted: Mutex::default(),
            told: Mutex::default(),
            last_told: AtomicUsize::new(0),
        }
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

    /// Whether a handler or function is told something for the first time.
    fn is_first(&self, hint: Hint, spec: &Spec) -> bool {
        lock(&self.told).insert((hint, spec.handler))
    }

    fn hint_scope(&self, operation: &OperationName) {
        let mut hinted = lock(&self.hinted);
        if hinted.len() < MAX_HINTS && hinted.insert(operation.clone()) {
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
    pub(crate) fn hint_no_caller(&self, spec: &Spec, operation: &OperationName) {
        // Each request of a handler whose callers send no credentials comes here.
        let handler = spec.handler.as_ptr().addr();
        if self.last_told.load(Ordering::Relaxed) == handler {
            return;
        }
        self.last_told.store(handler, Ordering::Relaxed);
        if self.is_first(Hint::NoCaller, spec) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "this operation has no `scope`, and a request came without credentials: its callers \
                 cannot be told apart, and one who sends the key and the content of another gets the \
                 other's response. Write `scope = …` (the user or tenant) into the attribute, or name \
                 the header that says who asks in `IdempotencyBuilder::credentials`. Write `shared` \
                 where everybody may share keys. Said once for each handler"
            );
        }
    }

    #[cold]
    pub(crate) fn hint_empty_scope(&self, spec: &Spec, operation: &OperationName) {
        if self.is_first(Hint::EmptyScope, spec) {
            tracing::warn!(
                target: "idempotent_runtime",
                %operation,
                "the `scope` of a call is empty and is ignored: it would have been one scope for \
                 everybody. Make it the user or tenant, or refuse calls that have none. Said once for \
                 each handler or function"
            );
        }
    }
}

/// `halt`, and a process that lives leaves an operation whose outcome nobody knows.
#[cold]
pub(crate) fn abandoned(operation: &OperationName, key: &StorageKey, why: &'static str) {
    tracing::warn!(
        target: "idempotent_runtime",
        %operation,
        key = %key.short(),
        why,
        "the outcome is unknown, and on_abandoned = halt: nothing runs under this key until somebody \
         decides with `Idempotency::resolve(scope, operation, key, Resolution::…)`. A handler that knows \
         that nothing happened says so with `NoEffect` (a function with `attempt.no_effect()`)"
    );
}

#[cfg(feature = "metrics")]
fn count(operation: &OperationName, outcome: &'static str, store: &'static str) {
    metrics::counter!("idempotency_requests_total",
        "operation" => label(operation), "outcome" => outcome, "store" => store)
    .increment(1);
}

/// A label of metrics has few values, and clients choose the method of a route for any: what is no method
/// of RFC 9110 or RFC 5789 is `_OTHER`, as OpenTelemetry's semantic conventions call it.
#[cfg(feature = "metrics")]
fn label(operation: &OperationName) -> String {
    const METHODS: [&str; 9] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    match operation.split_once(' ') {
        Some((method, route)) if route.starts_with('/') && !METHODS.contains(&method) => {
            format!("_OTHER {route}")
        }
        _ => operation.to_string(),
    }
}

#[cfg(not(feature = "metrics"))]
fn count(_: &OperationName, _: &'static str, _: &'static str) {}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    /// CASES 87: methods are chosen by clients.
    #[test]
    fn a_label_has_no_method_that_a_client_made_up() {
        let label = |name: &str| super::label(&OperationName::from(name));
        for name in ["POST /payments/{id}", "create_payment", "orders::ship", "ship an order", ""] {
            assert_eq!(label(name), name);
        }
        for method in ["PURGE", "post", "X-1", ""] {
            assert_eq!(label(&format!("{method} /payments")), "_OTHER /payments");
        }
    }

    #[test]
    fn hints_are_bounded() {
        let observer = Observer::new("test");
        for method in 0..2 * MAX_HINTS {
            observer.hint_scope(&OperationName::from(format!("M{method} /")));
        }
        assert_eq!(lock(&observer.hinted).len(), MAX_HINTS);
    }
}
