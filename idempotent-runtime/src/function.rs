//! Guarded functions: what `#[idempotent_fn]` hands over, and what becomes of it.

mod attempt;
mod running;
mod site;
mod value;

use std::{
    any::type_name,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

use serde::Serialize;

pub use self::{
    attempt::ValueAttempt,
    site::Site,
    value::{Recordable, Refusable, Returned, Values, values},
};

use self::{attempt::Asked, running::Running};
use crate::{
    boxed::boxed,
    content::ContentKey,
    engine::{self, Answer, Effect, Verdict},
    error::Error,
    fingerprint::Fingerprint,
    flight::Landing,
    idempotency::Idempotency,
    key::StorageKey,
    key_part::{KeyEncoder, KeyPart},
    operation::OperationName,
    record::{Metadata, Record},
    store::BoxError,
};

/// One call of a guarded function, frozen before its body runs. The generated code calls `new`, then
/// `scope` and `fingerprint` where they stand in the attribute, then `key` or `key_content`.
pub struct Function {
    runtime: Idempotency,
    site: &'static Site,
    scope: Option<KeyEncoder>,
    fingerprint: Result<Option<Fingerprint>, Error>,
    key: Result<StorageKey, Error>,
    asked: Option<Asked>,
    implementor: Option<&'static str>,
}

#[allow(missing_docs, clippy::missing_docs_in_private_items)] // named after the options they freeze
impl Function {
    pub fn new(runtime: &Idempotency, site: &'static Site) -> Self {
        let key = Err(Error::KeyMissing { operation: site.operation() });
        let (runtime, fingerprint) = (runtime.clone(), Ok(None));
        let implementor = None;
        Self { runtime, site, scope: None, fingerprint, key, asked: None, implementor }
    }

    /// It was called as a method of `T`.
    #[must_use]
    pub fn method_of<T: ?Sized>(mut self) -> Self {
        self.implementor = Some(type_name::<T>());
        self
    }

    #[must_use]
    pub fn scope<K: KeyPart + ?Sized>(mut self, scope: &K) -> Self {
        if !scope.is_absent() {
            let mut encoder = KeyEncoder::storage_key();
            scope.encode(&mut encoder);
            // A scope of nothing would be one bucket for everybody.
            if encoder.has_content() {
                self.scope = Some(encoder);
            } else {
                let operation = OperationName::from_static(self.site.operation());
                let observer = &self.runtime.engine.observer;
                observer.hint_empty_scope(self.site.spec(), &operation);
            }
        }
        self
    }

    #[must_use]
    pub fn fingerprint<K: KeyPart + ?Sized>(mut self, content: &K) -> Self {
        let mut encoder = KeyEncoder::new(b'O');
        encoder.text(self.site.operation());
        content.encode(&mut encoder);
        let digest = encoder.digest(self.runtime.settings().secret.as_ref(), &[]);
        self.fingerprint = Ok(Some(Fingerprint::from_bytes(digest)));
        self
    }

    #[must_use]
    pub fn fingerprint_content<T: Serialize + ?Sized>(mut self, content: &T) -> Self {
        match ContentKey::of(content) {
            Ok(key) => self.fingerprint(&key),
            Err(source) => {
                self.fingerprint =
                    Err(Error::KeyInvalid { operation: self.site.operation(), source });
                self
            }
        }
    }

    #[must_use]
    pub fn key<K: KeyPart + ?Sized>(mut self, key: &K) -> Self {
        let mut encoder = self.scope.take().unwrap_or_else(KeyEncoder::without_scope);
        encoder.text(self.site.operation());
        encoder.expect_content();
        key.encode(&mut encoder);
        self.key = match encoder.has_content() && !encoder.has_absent() {
            true => Ok(encoder.finish_storage_key(self.runtime.settings().secret.as_ref())),
            false => Err(Error::KeyMissing { operation: self.site.operation() }),
        };
        self
    }

    #[must_use]
    pub fn key_content<T: Serialize + ?Sized>(mut self, content: &T) -> Self {
        match ContentKey::of(content) {
            Ok(key) => self.key(&key),
            Err(source) => {
                self.key = Err(Error::KeyInvalid { operation: self.site.operation(), source });
                self
            }
        }
    }

    pub fn attempt<R: Returned>(mut self, _values: &Values<R>) -> (Self, ValueAttempt<R::Value>) {
        let attempt = ValueAttempt::new(self.asked.get_or_insert_default());
        (self, attempt)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("operation", &self.site.operation())
            .finish_non_exhaustive()
    }
}

/// Guards what `make` makes, which runs in the caller's task, and gives its value or the recorded one.
///
/// What it gives is an error of the guard where that is not executed or its value cannot be given.
pub async fn run_function<M, F, R>(function: Function, make: M, values: Values<R>) -> R
where
    M: FnOnce() -> F,
    F: Future<Output = R>,
{
    let call = match function.ready() {
        Ok(call) => call,
        Err(error) => return values.refuse(error),
    };
    if let Some(answer) = call.recall() {
        return values.answer(answer, call.operation);
    }
    let OneCall { runtime, operation, fingerprint, .. } = &call;
    let (engine, operation) = (Arc::clone(&runtime.engine), *operation);
    let (fingerprint, asked) = (*fingerprint, call.asked.clone());
    let max_bytes = engine.settings.max_response_bytes;
    let Some(running) = Running::of(&engine, call.key) else {
        return values.refuse(Error::CallsItself { operation });
    };
    let work = pin!(running.around(async move {
        let outcome = Outcome { fingerprint, operation, max_bytes };
        outcome.verdict(boxed(make).await, values, asked)
    }));
    // Boxed, so that the future of a function that replays stays small.
    let answer = Box::pin(engine.answer_inline(call.into_engine_call(), work)).await;
    values.answer(answer, operation)
}

/// A call whose key is sound.
struct OneCall {
    runtime: Idempotency,
    site: &'static Site,
    operation: &'static str,
    key: StorageKey,
    fingerprint: Fingerprint,
    asked: Option<Asked>,
}

impl Function {
    fn ready(self) -> Result<OneCall, Error> {
        let Self { runtime, site, fingerprint, key, asked, implementor, .. } = self;
        site.check()?;
        if let Some(implementor) = implementor {
            site.check_implementor(implementor)?;
        }
        let key = key?;
        // Without `fingerprint = …` nothing but the key tells two calls apart, and it is the digest of
        // operation, scope and key already.
        let fingerprint = fingerprint?.unwrap_or_else(|| Fingerprint::from_bytes(*key.as_bytes()));
        Ok(OneCall { runtime, site, operation: site.operation(), key, fingerprint, asked })
    }
}

impl OneCall {
    /// A record in the memory of this process answers before anything is claimed or boxed.
    fn recall<A>(&self) -> Option<Answer<A>> {
        let engine = &self.runtime.engine;
        let answer = engine.recall(&self.key, &self.fingerprint)?;
        let operation = OperationName::from_static(self.operation);
        engine.observer.answered(&operation, &self.key, true, answer.outcome());
        Some(answer)
    }

    fn into_engine_call(self) -> engine::Call {
        engine::Call {
            operation: OperationName::from_static(self.operation),
            key: self.key,
            fingerprint: self.fingerprint,
            policy: self.runtime.engine.policy(self.site.spec()),
            attempt: self.asked.map(|asked| asked.slot),
            // No credentials stand in for a scope, so there is nothing to be told about one.
            has_scope: true,
        }
    }
}

/// What the worth of a function's value depends on.
struct Outcome {
    fingerprint: Fingerprint,
    operation: &'static str,
    max_bytes: usize,
}

impl Outcome {
    /// Row "outcome": `Ok` is final, `Err` is transient, and what ran is never given back because its
    /// value cannot be kept.
    fn verdict<R>(self, returned: R, values: Values<R>, asked: Option<Asked>) -> Verdict<R> {
        match catch_unwind(AssertUnwindSafe(|| values.encode(&returned))) {
            // Nobody shares an error: those who waited ask the store, and one of them runs.
            Ok(None) => {
                let effect = match asked.is_some_and(|asked| asked.has_no_effect()) {
                    true => Effect::None,
                    false => Effect::Possible,
                };
                Verdict::Transient { shared: Landing::Vanished, answer: returned, effect }
            }
            Ok(Some(Ok(bytes))) if bytes.len() <= self.max_bytes => {
                self.record(Metadata::Value, bytes.into_boxed_slice(), returned)
            }
            Ok(Some(Ok(bytes))) => {
                tracing::warn!(
                    operation = self.operation,
                    bytes = bytes.len(),
                    "the value is larger than max_response_bytes: it is given once and not kept"
                );
                self.tombstone(returned)
            }
            Ok(Some(Err(source))) => self.unrecordable(source.into(), values),
            Err(_panic) => self.unrecordable("its `Serialize` panicked".into(), values),
        }
    }

    fn unrecordable<R>(self, source: BoxError, values: Values<R>) -> Verdict<R> {
        tracing::error!(
            operation = self.operation,
            source = &*source as &dyn std::error::Error,
            "the value cannot be recorded: it is lost, and the function is not executed again"
        );
        let error = Error::Unrecordable { operation: self.operation, source };
        self.tombstone(values.refuse(error))
    }

    fn tombstone<A>(self, answer: A) -> Verdict<A> {
        self.record(Metadata::Tombstone { status: None }, Box::default(), answer)
    }

    fn record<A>(self, metadata: Metadata, body: Box<[u8]>, answer: A) -> Verdict<A> {
        Verdict::Final { record: Record::of_own(self.fingerprint, metadata, body), answer }
    }
}
