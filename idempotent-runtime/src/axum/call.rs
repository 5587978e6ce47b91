//! One guarded request, frozen before the handler's body runs.

use std::fmt;

use axum::response::Response;
use http::HeaderName;
use serde::Serialize;

use super::{
    answer::response,
    guarded::{Guard, Kept},
};
use crate::{
    content::ContentKey,
    engine::{self, Answer},
    fingerprint::{Content, Fingerprint, RequestDigest},
    http::{key_header::key_header, problem::Problem},
    idempotency::Idempotency,
    key::StorageKey,
    key_part::{KeyEncoder, KeyPart},
    operation::Operation,
    settings::{Policy, Settings, Spec},
};

/// What the attribute's options make of one request. The generated code calls `new`, then `runtime`,
/// `scope`, `fingerprint` where they stand in the attribute, then one of those that begin with `key`.
pub struct Call {
    spec: &'static Spec,
    guard: Guard,
    scope: Option<KeyEncoder>,
    fingerprint: Option<[u8; 32]>,
    key: Option<Result<Frozen, Problem>>,
    /// Whether there is no record in the memory of this process.
    is_new: bool,
}

/// What a request is told apart by.
struct Frozen {
    key: StorageKey,
    fingerprint: Fingerprint,
    has_scope: bool,
}

/// What is to be done with the handler's body.
pub(super) enum Step {
    /// Run it as if there were no attribute.
    Direct,
    Answer(Problem, Option<Idempotency>),
    Guard(Guarding),
}

/// A request that is to be guarded.
pub(super) struct Guarding {
    pub(super) runtime: Idempotency,
    spec: &'static Spec,
    kept: Box<Kept>,
    frozen: Frozen,
    is_new: bool,
}

#[allow(missing_docs, clippy::missing_docs_in_private_items)] // named after the options they freeze
impl Call {
    pub fn new(guard: Guard, spec: &'static Spec) -> Self {
        Self { spec, guard, scope: None, fingerprint: None, key: None, is_new: false }
    }

    #[must_use]
    pub fn runtime(mut self, runtime: &Idempotency) -> Self {
        if let Some(kept) = &mut self.guard.0 {
            kept.runtime = Some(runtime.clone());
        }
        self
    }

    #[must_use]
    pub fn scope<K: KeyPart + ?Sized>(mut self, scope: &K) -> Self {
        if !scope.is_absent() {
            let mut encoder = KeyEncoder::storage_key();
            scope.encode(&mut encoder);
            self.scope = Some(encoder);
        }
        self
    }

    #[must_use]
    pub fn fingerprint<K: KeyPart + ?Sized>(mut self, content: &K) -> Self {
        self.fingerprint = Some(*Fingerprint::of(content).as_bytes());
        self
    }

    #[must_use]
    pub fn key<K: KeyPart + ?Sized>(mut self, key: &K) -> Self {
        if let Some(kept) = self.guard.0.take() {
            self.key = Some(self.freeze(&kept, Some(key)));
            self.guard.0 = Some(kept);
        }
        self
    }

    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // a constant of the generated code
    pub fn key_header(mut self, name: HeaderName) -> Self {
        let Some(kept) = self.guard.0.take() else { return self };
        let key = key_header(&kept.head, &name);
        self.key = Some(key.and_then(|key| self.freeze(&kept, Some(&*key))));
        self.guard.0 = Some(kept);
        self
    }

    #[must_use]
    pub fn key_content<T: Serialize + ?Sized>(mut self, content: &T) -> Self {
        match ContentKey::of(content) {
            Ok(key) => self.key(&key),
            Err(error) => {
                tracing::error!(handler = self.spec.handler, %error, "no key can be made of this");
                let detail = "the content that is the key has no form in JSON";
                self.key = Some(Err(Problem::KeyInvalid(detail)));
                self
            }
        }
    }

    #[must_use]
    pub fn key_fingerprint(mut self) -> Self {
        if let Some(kept) = self.guard.0.take() {
            self.key = Some(self.freeze::<str>(&kept, None));
            self.guard.0 = Some(kept);
        }
        self
    }

    /// Without `key` the fingerprint is the key.
    fn freeze<K>(&mut self, kept: &Kept, key: Option<&K>) -> Result<Frozen, Problem>
    where
        K: KeyPart + ?Sized,
    {
        // A scope of which a part is missing does not say whose key it is.
        let has_scope = self.scope.as_ref().is_some_and(|scope| !scope.has_absent());
        let scope = self.scope.take();
        let settings = kept.runtime.as_ref().ok_or(Problem::RuntimeMissing)?.settings();
        // The body was buffered before an argument could name its runtime.
        if kept.body.len() > settings.max_request_bytes {
            return Err(Problem::BodyTooLarge);
        }
        let secret = settings.secret.as_ref();
        let operation = operation(self.spec, kept)?;
        let mut encoder = scope.unwrap_or_else(KeyEncoder::without_scope);
        operation.encode(&mut encoder);
        encoder.expect_content();
        let Some(key) = key else {
            let fingerprint =
                self.digest(kept, settings, has_scope, &mut KeyEncoder::storage_key());
            encoder.bytes(fingerprint.as_bytes());
            let key = encoder.finish_storage_key(secret);
            return Ok(Frozen { key, fingerprint, has_scope });
        };
        key.encode(&mut encoder);
        if encoder.has_absent() {
            return Err(Problem::KeyMissing);
        }
        if !encoder.has_content() {
            return Err(Problem::KeyInvalid("the key is empty"));
        }
        let key = encoder.finish_storage_key(secret);
        let fingerprint = self.digest(kept, settings, has_scope, &mut encoder);
        Ok(Frozen { key, fingerprint, has_scope })
    }

    fn digest(
        &self,
        kept: &Kept,
        settings: &Settings,
        has_scope: bool,
        encoder: &mut KeyEncoder,
    ) -> Fingerprint {
        let credentials = (!has_scope).then(|| {
            settings
                .credentials
                .iter()
                .flat_map(|name| kept.head.get_all(name).map(|value| (name.as_str(), value)))
        });
        let digest = RequestDigest {
            method: kept.method.as_str(),
            path: kept.head.path(),
            content: match &self.fingerprint {
                Some(digest) => Content::Expression(digest),
                None => Content::Raw { query: kept.head.query(), body: &kept.body },
            },
            credentials,
        };
        digest.fingerprint(encoder, settings.secret.as_ref())
    }

    pub fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// The answer of a record of this very request, before its last argument is taken. A key that was
    /// reused is for later: there its last argument comes first.
    pub(super) fn recall(&mut self) -> Option<Response> {
        let (Some(kept), Some(Ok(frozen))) = (&self.guard.0, &self.key) else { return None };
        let runtime = kept.runtime.as_ref()?;
        let answer = frozen.recall(runtime);
        self.is_new = answer.is_none();
        let replay = answer.filter(|answer| matches!(answer, Answer::Replay(_)))?;
        frozen.observe(self.spec, kept, runtime, &replay);
        Some(response(replay, runtime))
    }

    pub(super) fn step(self) -> Step {
        let Some(mut kept) = self.guard.0 else { return Step::Direct };
        match (self.key, kept.runtime.take()) {
            (Some(Ok(frozen)), Some(runtime)) => {
                let Self { spec, is_new, .. } = self;
                Step::Guard(Guarding { runtime, spec, kept, frozen, is_new })
            }
            (Some(Err(Problem::KeyMissing)), Some(_)) if self.spec.optional => Step::Direct,
            (Some(Err(problem)), runtime @ Some(_)) => {
                tracing::debug!(handler = self.spec.handler, code = problem.code(), "not run");
                Step::Answer(problem, runtime)
            }
            (_, runtime) => {
                tracing::error!(
                    handler = self.spec.handler,
                    "no Idempotency for this handler: add `.layer(Extension(Idempotency::new(store)))` \
                     to its router, or `runtime = …` to its attribute"
                );
                Step::Answer(Problem::RuntimeMissing, runtime)
            }
        }
    }
}

impl Guarding {
    /// A record in the memory of this process answers before anything else is made of the request.
    pub(super) fn recall(&self) -> Option<Answer<Response>> {
        let answer = if self.is_new { None } else { self.frozen.recall(&self.runtime) }?;
        self.frozen.observe(self.spec, &self.kept, &self.runtime, &answer);
        Some(answer)
    }

    /// The call of the engine. A request without an operation was not frozen, so it has one.
    pub(super) fn into_call(self) -> Result<(Idempotency, engine::Call), Problem> {
        let Frozen { key, fingerprint, has_scope } = self.frozen;
        let operation = operation(self.spec, &self.kept)?.into_owned();
        let policy = Policy::of(self.spec, self.runtime.settings());
        let attempt = self.kept.attempt;
        let call = engine::Call { operation, key, fingerprint, policy, attempt, has_scope };
        Ok((self.runtime, call))
    }
}

impl Frozen {
    fn recall(&self, runtime: &Idempotency) -> Option<Answer<Response>> {
        runtime.engine.recall(&self.key, &self.fingerprint)
    }

    fn observe<A>(&self, spec: &Spec, kept: &Kept, runtime: &Idempotency, answer: &Answer<A>) {
        if let Ok(operation) = operation(spec, kept) {
            let observer = &runtime.engine.observer;
            observer.answered(&operation, &self.key, self.has_scope, answer.outcome());
        }
    }
}

fn operation<'a>(spec: &Spec, kept: &'a Kept) -> Result<Operation<&'a str>, Problem> {
    if let Some(name) = spec.operation {
        return Ok(Operation::Named(name));
    }
    let Some(route) = &kept.route else {
        tracing::error!(
            handler = spec.handler,
            "no route was matched for this handler: add `operation = \"…\"` to its attribute"
        );
        return Err(Problem::OperationMissing);
    };
    Ok(Operation::Route { method: kept.method.clone(), template: route.as_str() })
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("handler", &self.spec.handler).finish_non_exhaustive()
    }
}
