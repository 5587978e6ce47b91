//! One guarded request, frozen before the handler's body runs.

use std::fmt;

use axum::response::Response;
use serde::Serialize;

use super::{
    answer::{problem_response, response},
    kept::{Guard, Kept},
};
use crate::{
    content::{ContentKey, digest_of_json},
    engine::{self, Answer},
    fingerprint::{Content, Fingerprint, RequestDigest},
    http::problem::Problem,
    idempotency::Idempotency,
    key::StorageKey,
    key_part::{KeyEncoder, KeyPart},
    operation::OperationName,
    settings::{Settings, Spec},
};

/// What the attribute's options make of one request. The generated code calls `new`, then `runtime`,
/// `scope`, `fingerprint` where they stand in the attribute, then one of those that begin with `key`.
pub struct Call {
    spec: &'static Spec,
    guard: Guard,
}

/// What was made of the options so far. It stands beside what it is made from, so that a call is two
/// pointers.
#[derive(Default)]
pub(super) struct Options {
    scope: Option<KeyEncoder>,
    scope_is_empty: bool,
    fingerprint: Option<Result<[u8; 32], Problem>>,
    key: Option<Result<Frozen, Problem>>,
    /// Whether there is no record in the memory of this process.
    is_new: bool,
}

/// What a request is told apart by.
struct Frozen {
    operation: OperationName,
    key: StorageKey,
    fingerprint: Fingerprint,
    has_scope: bool,
    /// Whether anything says who asks.
    has_caller: bool,
}

/// What is to be done with the handler's body.
pub(super) enum Step {
    /// Run it as if there were no attribute.
    Direct,
    Answer(Box<Response>),
    Guard(Idempotency, engine::Call),
}

#[allow(missing_docs, clippy::missing_docs_in_private_items)] // named after the options they freeze
impl Call {
    pub fn new(guard: Guard, spec: &'static Spec) -> Self {
        Self { spec, guard }
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
        if let Some(kept) = &mut self.guard.0
            && !scope.is_absent()
        {
            let mut encoder = KeyEncoder::storage_key();
            scope.encode(&mut encoder);
            // A scope of nothing would be one bucket for everybody.
            match encoder.has_content() {
                true => kept.options.scope = Some(encoder),
                false => kept.options.scope_is_empty = true,
            }
        }
        self
    }

    #[must_use]
    pub fn fingerprint<K: KeyPart + ?Sized>(mut self, content: &K) -> Self {
        if let Some(kept) = &mut self.guard.0 {
            kept.options.fingerprint = Some(Ok(*Fingerprint::of(content).as_bytes()));
        }
        self
    }

    #[must_use]
    pub fn fingerprint_content<T: Serialize + ?Sized>(mut self, content: &T) -> Self {
        if let Some(kept) = &mut self.guard.0 {
            kept.options.fingerprint = Some(match ContentKey::of(content) {
                Ok(key) => Ok(*Fingerprint::of(&key).as_bytes()),
                Err(error) => {
                    tracing::error!(handler = self.spec.handler, %error, "this cannot be compared");
                    Err(Problem::KeyInvalid("the content that is compared has no form in JSON"))
                }
            });
        }
        self
    }

    #[must_use]
    pub fn key<K: KeyPart + ?Sized>(self, key: &K) -> Self {
        self.freeze_by(|kept, scope, spec| kept.freeze(spec, scope, Some(key)))
    }

    #[must_use]
    pub fn key_header(self, name: &'static str) -> Self {
        self.freeze_by(|kept, scope, spec| kept.freeze(spec, scope, Some(&*kept.key_header(name)?)))
    }

    #[must_use]
    pub fn key_content<T: Serialize + ?Sized>(self, content: &T) -> Self {
        self.freeze_by(|kept, scope, spec| match ContentKey::of(content) {
            Ok(key) => kept.freeze(spec, scope, Some(&key)),
            Err(error) => {
                tracing::error!(handler = spec.handler, %error, "no key can be made of this");
                Err(Problem::KeyInvalid("the content that is the key has no form in JSON"))
            }
        })
    }

    #[must_use]
    pub fn key_fingerprint(self) -> Self {
        self.freeze_by(|kept, scope, spec| kept.freeze::<str>(spec, scope, None))
    }

    fn freeze_by(
        mut self,
        freeze: impl FnOnce(&Kept, Option<KeyEncoder>, &Spec) -> Result<Frozen, Problem>,
    ) -> Self {
        if let Some(kept) = &mut self.guard.0 {
            let scope = kept.options.scope.take();
            kept.options.key = Some(freeze(kept, scope, self.spec));
        }
        self
    }

    pub(super) fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// The answer of a record of this very request, before its last argument is taken. A key that was
    /// reused is for later: there its last argument comes first.
    pub(super) fn recall(&mut self) -> Option<Box<Response>> {
        let kept = self.guard.0.as_mut()?;
        let (Some(Ok(frozen)), Some(runtime)) = (&kept.options.key, &kept.runtime) else {
            return None;
        };
        let answer = frozen.recall(runtime);
        let is_new = answer.is_none();
        let replay = answer.filter(|answer| matches!(answer, Answer::Replay(_))).map(|replay| {
            frozen.observe(runtime, &replay);
            response(replay, runtime)
        });
        kept.options.is_new = is_new;
        replay
    }

    pub(super) fn step(self) -> Step {
        let Self { spec, guard: Guard(kept) } = self;
        let Some(mut kept) = kept else { return Step::Direct };
        let (frozen, runtime) = match (kept.options.key.take(), kept.runtime.take()) {
            (Some(Ok(frozen)), Some(runtime)) => (frozen, runtime),
            (key, runtime) => {
                return not_guarded(spec, key.and_then(Result::err), runtime.as_ref());
            }
        };
        // A record in the memory of this process answers before anything else is made of the request.
        if !kept.options.is_new
            && let Some(answer) = frozen.recall(&runtime)
        {
            frozen.observe(&runtime, &answer);
            return Step::Answer(response(answer, &runtime));
        }
        frozen.warn(spec, &runtime, kept.options.scope_is_empty);
        let Frozen { operation, key, fingerprint, has_scope, .. } = frozen;
        let (policy, attempt) = (runtime.engine.policy(spec), kept.attempt.take());
        let call = engine::Call { operation, key, fingerprint, policy, attempt, has_scope };
        Step::Guard(runtime, call)
    }
}

/// Apart, as all that few requests come to: the code that most run stays together.
#[cold]
fn not_guarded(spec: &Spec, problem: Option<Problem>, runtime: Option<&Idempotency>) -> Step {
    let problem = match problem {
        Some(Problem::KeyMissing) if spec.optional && runtime.is_some() => return Step::Direct,
        Some(problem) if runtime.is_some() => problem,
        _ => Problem::RuntimeMissing,
    };
    match problem {
        Problem::RuntimeMissing => tracing::error!(
            handler = spec.handler,
            "no Idempotency for this handler: add `.layer(Extension(Idempotency::new(store)))` to \
             its router, or `runtime = …` to its attribute"
        ),
        Problem::OperationMissing => tracing::error!(
            handler = spec.handler,
            "no route was matched for this handler: add `operation = \"…\"` to its attribute"
        ),
        _ => tracing::debug!(handler = spec.handler, code = problem.code(), "not run"),
    }
    Step::Answer(problem_response(problem, runtime))
}

impl Kept {
    /// Without `key` the fingerprint is the key.
    fn freeze<K>(
        &self,
        spec: &Spec,
        scope: Option<KeyEncoder>,
        key: Option<&K>,
    ) -> Result<Frozen, Problem>
    where
        K: KeyPart + ?Sized,
    {
        // A scope of which a part is missing does not say whose key it is.
        let has_scope = spec.shared || scope.as_ref().is_some_and(|scope| !scope.has_absent());
        let settings = self.runtime.as_ref().ok_or(Problem::RuntimeMissing)?.settings();
        // The body was buffered before an argument could name its runtime.
        if self.body.len() > settings.max_request_bytes {
            return Err(Problem::BodyTooLarge);
        }
        let secret = settings.secret.as_ref();
        let mut encoder = scope.unwrap_or_else(KeyEncoder::without_scope);
        let operation = operation(spec, self)?;
        encoder.text(&operation);
        encoder.expect_content();
        let Some(key) = key else {
            let mut other = KeyEncoder::storage_key();
            let (fingerprint, has_caller) = self.digest(spec, settings, has_scope, &mut other)?;
            encoder.bytes(fingerprint.as_bytes());
            let key = encoder.finish_storage_key(secret);
            return Ok(Frozen { operation, key, fingerprint, has_scope, has_caller });
        };
        key.encode(&mut encoder);
        if encoder.has_absent() {
            return Err(Problem::KeyMissing);
        }
        if !encoder.has_content() {
            return Err(Problem::KeyInvalid("the key is empty"));
        }
        let key = encoder.finish_storage_key(secret);
        let (fingerprint, has_caller) = self.digest(spec, settings, has_scope, &mut encoder)?;
        Ok(Frozen { operation, key, fingerprint, has_scope, has_caller })
    }

    fn digest(
        &self,
        spec: &Spec,
        settings: &Settings,
        has_scope: bool,
        encoder: &mut KeyEncoder,
    ) -> Result<(Fingerprint, bool), Problem> {
        let mut has_caller = has_scope;
        let credentials = |encoder: &mut KeyEncoder| {
            has_caller = self.encode(&settings.credentials, encoder);
        };
        let preconditions = |encoder: &mut KeyEncoder| {
            self.encode(&settings.preconditions, encoder);
            self.encode_named(spec.fingerprint_headers, encoder);
        };
        let (path, query) = self.target();
        let by_value = || spec.fingerprint_json.then(|| digest_of_json(&self.body)).flatten();
        let digest = RequestDigest {
            method: self.method().as_str(),
            path,
            content: match &self.options.fingerprint {
                Some(Ok(digest)) => Content::Expression(digest),
                Some(Err(problem)) => return Err(*problem),
                None => match by_value() {
                    Some(digest) => Content::Json { query, digest },
                    None => Content::Raw { query, body: &self.body },
                },
            },
            credentials: (!has_scope).then_some(credentials),
            preconditions,
        };
        let fingerprint = digest.fingerprint(encoder, settings.secret.as_ref());
        Ok((fingerprint, has_caller))
    }
}

impl Frozen {
    fn recall(&self, runtime: &Idempotency) -> Option<Answer<Box<Response>>> {
        runtime.engine.recall(&self.key, &self.fingerprint)
    }

    /// Says so where nothing tells this caller from another.
    fn warn(&self, spec: &Spec, runtime: &Idempotency, scope_is_empty: bool) {
        if scope_is_empty {
            runtime.engine.observer.hint_empty_scope(spec, &self.operation);
        }
        if !self.has_caller {
            runtime.engine.observer.hint_no_caller(spec, &self.operation);
        }
    }

    fn observe<A>(&self, runtime: &Idempotency, answer: &Answer<A>) {
        let observer = &runtime.engine.observer;
        observer.answered(&self.operation, &self.key, self.has_scope, answer.outcome());
    }
}

fn operation(spec: &Spec, kept: &Kept) -> Result<OperationName, Problem> {
    if let Some(name) = spec.operation {
        return Ok(OperationName::from_static(name));
    }
    let route = kept.route().ok_or(Problem::OperationMissing)?;
    Ok(OperationName::of_route(kept.method().as_str(), route.as_str()))
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("handler", &self.spec.handler).finish_non_exhaustive()
    }
}
