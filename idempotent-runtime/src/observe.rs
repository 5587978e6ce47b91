//! What an operator sees: one log line and one count for each request.

use std::{collections::HashSet, sync::Mutex};

use crate::{
    engine::{Answer, Call},
    key::ShortKey,
    operation::Operation,
    refusal::Refusal,
    sync::lock,
};

/// What is said of a request when it is answered. Never the raw key.
pub(crate) struct Observed<'a> {
    operation: Operation,
    key: ShortKey,
    has_scope: bool,
    store: &'static str,
    hinted: &'a Hinted,
}

impl<'a> Observed<'a> {
    pub(crate) fn new(call: &Call, store: &'static str, hinted: &'a Hinted) -> Self {
        let (operation, key) = (call.operation.clone(), call.key.short());
        Self { operation, key, has_scope: call.has_scope, store, hinted }
    }

    pub(crate) fn answered<A>(self, answer: Answer<A>) -> Answer<A> {
        let outcome = match &answer {
            Answer::Own(_) => "executed",
            Answer::Replay(_) => "replayed",
            Answer::Shared(_) => "shared",
            Answer::Refused(refusal) => refusal.code(),
        };
        let Self { operation, key, has_scope, store, hinted } = self;
        tracing::debug!(%operation, %key, outcome, "idempotent request");
        count(&operation, outcome, store);
        if matches!(answer, Answer::Refused(Refusal::KeyReused)) && !has_scope {
            hinted.set_scope(&operation);
        }
        answer
    }
}

/// Which operations were told once that a scope would help.
#[derive(Default)]
pub(crate) struct Hinted(Mutex<HashSet<String>>);

impl Hinted {
    fn set_scope(&self, operation: &Operation) {
        if lock(&self.0).insert(operation.to_string()) {
            tracing::warn!(%operation,
                "a key was reused (422). This operation has no `scope`, so callers are told apart by \
                 their credentials, and a retry with refreshed credentials looks like another caller: \
                 set `scope`. Said once for each operation");
        }
    }
}

#[cfg(feature = "metrics")]
fn count(operation: &Operation, outcome: &'static str, store: &'static str) {
    let operation = operation.to_string();
    metrics::counter!("idempotency_requests_total",
        "operation" => operation, "outcome" => outcome, "store" => store)
    .increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &Operation, _: &'static str, _: &'static str) {}
