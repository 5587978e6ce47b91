//! The handle of the runtime: what an application makes once and gives to its router.

use std::{fmt, iter, sync::Arc, time::Duration};

use http::HeaderName;

use crate::{
    engine::Engine,
    key::StorageKey,
    key_part::KeyPart,
    lease::LeaseId,
    record::{Metadata, Record},
    request_fields::Fields,
    settings::{
        OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, Settings, describes_the_message,
    },
    store::{AcquireRequest, Acquired, KeyState, Retention, Store, StoreError},
};

/// The runtime: a store, its settings, and the operations that run in this process.
///
/// Make one and share it; clones are cheap and are the same runtime.
///
/// ```
/// # #[cfg(feature = "axum")] mod example {
/// use axum::{Extension, Router};
/// use idempotent_runtime::{Idempotency, MemoryStore};
///
/// fn app() -> Router {
///     Router::new().layer(Extension(Idempotency::new(MemoryStore::new())))
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Idempotency {
    pub(crate) engine: Arc<Engine>,
}

impl Idempotency {
    /// A runtime over `store` with the default settings.
    pub fn new(store: impl Store) -> Self {
        Self { engine: Arc::new(Engine::new(store, Settings::default())) }
    }

    /// A runtime over `store` with settings of its own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use idempotent_runtime::{Idempotency, MemoryStore};
    ///
    /// let idempotency = Idempotency::builder(MemoryStore::new())
    ///     .wait(Duration::from_secs(3))
    ///     .max_running(256)
    ///     .build()?;
    /// # Ok::<(), idempotent_runtime::SettingsError>(())
    /// ```
    pub fn builder<S: Store>(store: S) -> IdempotencyBuilder<S> {
        IdempotencyBuilder { store, settings: Settings::default() }
    }

    /// The state of an operation, by the client's own key.
    ///
    /// `operation` is what stands in `operation = "…"`, else method and route template:
    /// `"POST /payments/{id}/refund"`. `scope` is `&None::<&str>` where the attribute has none. A key of a
    /// header may be given as the client sent it, in quotes or bare.
    ///
    /// ```
    /// # use idempotent_runtime::{Idempotency, KeyState, MemoryStore, StoreError};
    /// # async fn example(idempotency: Idempotency) -> Result<(), StoreError> {
    /// let state = idempotency.inspect(&None::<&str>, "POST /payments", "8e03978e").await?;
    /// assert!(matches!(state, KeyState::Absent));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store could not be asked or holds something unreadable.
    pub async fn inspect(
        &self,
        scope: &impl KeyPart,
        operation: &str,
        key: impl KeyPart,
    ) -> Result<KeyState, StoreError> {
        Ok(self.find(scope, operation, &key).await?.1)
    }

    /// Removes all that is known of an operation, by the client's own key as
    /// [`inspect`](Self::inspect) takes it; answers whether there was something. The next request with this key runs.
    ///
    /// # Errors
    ///
    /// [`StoreError::StillLeased`] when it is running, unless `force` is set: then two executions
    /// may overlap.
    pub async fn forget(
        &self,
        scope: &impl KeyPart,
        operation: &str,
        key: impl KeyPart,
        force: bool,
    ) -> Result<bool, StoreError> {
        let (key, unquoted) = self.storage_keys(scope, operation, &key);
        for key in iter::once(key).chain(unquoted) {
            if self.engine.bounded(self.engine.store().forget(&key, force)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Decides what an abandoned operation is worth, by the client's own key as
    /// [`inspect`](Self::inspect) takes it, which `on_abandoned = halt` leaves to a person. What
    /// was decided lasts as long as the operation's own record would: for the `ttl` of its attribute.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NotAbandoned`] when there is nothing to decide: the operation runs, has ended
    /// or is unknown. [`ResolveError::Store`] when the store could not be asked.
    pub async fn resolve(
        &self,
        scope: &impl KeyPart,
        operation: &str,
        key: impl KeyPart,
        resolution: Resolution,
    ) -> Result<(), ResolveError> {
        let (engine, store) = (&*self.engine, self.engine.store());
        let (key, state) = self.find(scope, operation, &key).await?;
        let KeyState::Abandoned { fingerprint, operation, ttl, .. } = state else {
            return Err(ResolveError::NotAbandoned);
        };
        let lease = engine.settings.lease;
        // Should the second step fail, the outcome is as unknown as before.
        let request = AcquireRequest::new(&key, &fingerprint, LeaseId::random(), lease)
            .operation(&operation, ttl)
            .retention(Retention::UntilResolved);
        let Acquired::Granted(lease) = engine.bounded(store.acquire(request)).await? else {
            return Err(ResolveError::NotAbandoned);
        };
        match resolution {
            Resolution::Rerun => engine.bounded(store.release(&lease, ttl)).await?,
            Resolution::Record(answer) => {
                let (metadata, body) = answer.into_parts();
                let record = Record::new(fingerprint, metadata, body);
                engine.bounded(store.complete(&lease, record, ttl)).await?;
            }
        }
        Ok(())
    }

    /// Removes at most `limit` expired keys from the store; answers how many went.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store could not be asked.
    pub async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        self.engine.store().purge_expired(limit).await
    }

    /// Lets no new operation begin and waits for those that run, and for outcomes that are still
    /// being recorded, for `within` at most. Replays are served meanwhile; fresh requests get `503`.
    /// Answers how many were left: their leases are not released, they lapse.
    pub async fn drain(&self, within: Duration) -> usize {
        self.engine.drain(within).await
    }

    /// Where a key stands, and how. Of one that is unknown the last place where it could stand.
    async fn find(
        &self,
        scope: &impl KeyPart,
        operation: &str,
        key: &impl KeyPart,
    ) -> Result<(StorageKey, KeyState), StoreError> {
        let inspect = async |key| self.engine.bounded(self.engine.store().inspect(&key)).await;
        let (key, unquoted) = self.storage_keys(scope, operation, key);
        match (inspect(key).await?, unquoted) {
            (KeyState::Absent, Some(unquoted)) => Ok((unquoted, inspect(unquoted).await?)),
            (state, _) => Ok((key, state)),
        }
    }

    /// A key as it is, and as it stands where it is the value of a header field in quotes.
    fn storage_keys(
        &self,
        scope: &dyn KeyPart,
        operation: &str,
        key: &dyn KeyPart,
    ) -> (StorageKey, Option<StorageKey>) {
        let secret = self.engine.settings.secret.as_ref();
        let derive = |key: &dyn KeyPart| StorageKey::derive(secret, Some(scope), operation, key);
        (derive(key), unquoted(key).map(|key| derive(&key)))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.engine.settings
    }
}

/// The key of a header field whose value is written in quotes.
#[cfg(feature = "axum")]
fn unquoted(key: &dyn KeyPart) -> Option<String> {
    let mut encoder = crate::key_part::KeyEncoder::storage_key();
    key.encode(&mut encoder);
    let field = encoder.sole_text().filter(|text| text.trim_ascii_start().starts_with('"'))?;
    let key = crate::http::key_header::key_header(iter::once(field.as_bytes())).ok()?;
    Some(key.into_owned())
}

/// Only handlers have headers.
#[cfg(not(feature = "axum"))]
fn unquoted(_: &dyn KeyPart) -> Option<String> {
    None
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("store", &self.engine.store().kind()).finish()
    }
}

/// What an abandoned operation is worth.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resolution {
    /// It had no effect, or one that can be repeated: the next request runs it as a new attempt.
    Rerun,
    /// It had its effect, and this is its answer.
    Record(ResolvedAnswer),
}

/// The answer that [`Resolution::Record`] gives to retries.
///
/// ```
/// use http::StatusCode;
/// use idempotent_runtime::ResolvedAnswer;
///
/// let answer = ResolvedAnswer::new(StatusCode::CREATED)
///     .header(http::header::CONTENT_TYPE, "application/json".parse()?)
///     .body(r#"{"id":1}"#);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone)]
pub struct ResolvedAnswer {
    /// `None` where it is a function's value.
    status: Option<http::StatusCode>,
    headers: crate::record::Headers,
    body: bytes::Bytes,
}

impl ResolvedAnswer {
    /// An empty answer with `status`.
    pub fn new(status: http::StatusCode) -> Self {
        Self { status: Some(status), headers: Vec::new(), body: bytes::Bytes::new() }
    }

    /// The value of a function under `#[idempotent_fn]`.
    ///
    /// # Errors
    ///
    /// When `value` has no form in JSON that reads back as it was, such as `Some(())` and `NaN`.
    pub fn value<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let body = crate::encoding::encode(value)?.into();
        Ok(Self { status: None, headers: Vec::new(), body })
    }

    /// Adds a header; the value of a function has none.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: http::HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<bytes::Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn into_parts(self) -> (Metadata, bytes::Bytes) {
        let Self { status, headers, body } = self;
        let metadata = match status {
            Some(status) => Metadata::Response { status, headers, trailers: Vec::new() },
            None => Metadata::Value,
        };
        (metadata, body)
    }
}

impl fmt::Debug for ResolvedAnswer {
    /// Shows no content: headers and body are the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedAnswer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why an operation was not resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is nothing to decide.
    #[error("the operation is not abandoned: it runs, has ended, or is unknown")]
    NotAbandoned,
    /// The store could not be asked.
    #[error("the store could not be asked")]
    Store(#[from] StoreError),
}

/// Sets up an [`Idempotency`]. What stands in an attribute wins over what is set here.
#[derive(Debug)]
pub struct IdempotencyBuilder<S> {
    store: S,
    settings: Settings,
}

impl<S: Store> IdempotencyBuilder<S> {
    /// How long a lease holds without a renewal; 30 s. A crashed process blocks its keys this long.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How long a duplicate waits for the answer of the first before `409`; 10 s.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// How long an answer is replayable, from completion; 24 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// Which outcomes are recorded; [`RecordRule::Final`].
    #[must_use]
    pub fn record(mut self, rule: RecordRule) -> Self {
        self.settings.record = rule;
        self
    }

    /// What happens to a lease that ran out without an outcome; [`OnAbandoned::Rerun`].
    #[must_use]
    pub fn on_abandoned(mut self, choice: OnAbandoned) -> Self {
        self.settings.on_abandoned = choice;
        self
    }

    /// What happens when the store cannot be asked; [`OnStoreError::Fail`].
    #[must_use]
    pub fn on_store_error(mut self, choice: OnStoreError) -> Self {
        self.settings.on_store_error = choice;
        self
    }

    /// What happens when an outcome cannot be recorded; [`OnRecordFailure::Answer`].
    #[must_use]
    pub fn on_record_failure(mut self, choice: OnRecordFailure) -> Self {
        self.settings.on_record_failure = choice;
        self
    }

    /// How long one call of the store may take; 2 s.
    #[must_use]
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.settings.store_timeout = timeout;
        self
    }

    /// How long a handler's lease is renewed; 10 min. A handler that hangs blocks its key no longer
    /// than this and one lease.
    #[must_use]
    pub fn max_run(mut self, max_run: Duration) -> Self {
        self.settings.max_run = max_run;
        self
    }

    /// How long the body of an answer is read, counted from its head; 5 s. One that has not ended by
    /// then is recorded as executed and passes from there on; it cannot be given again. With zero, so
    /// is every body that has to be waited for.
    #[must_use]
    pub fn capture_for(mut self, capture_for: Duration) -> Self {
        self.settings.capture_for = capture_for;
        self
    }

    /// Largest request body of a guarded handler, in bytes; 2 MiB. The handler's own
    /// `DefaultBodyLimit` holds too.
    #[must_use]
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_request_bytes = bytes;
        self
    }

    /// Largest response body that is recorded, in bytes; 1 MiB. Larger answers pass, and cannot be
    /// given again.
    #[must_use]
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_response_bytes = bytes;
        self
    }

    /// How many duplicates wait in this process; 1,024. Beyond, they get `409` at once.
    #[must_use]
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.settings.max_waiters = waiters;
        self
    }

    /// How many duplicates of one key wait in this process; 256.
    #[must_use]
    pub fn max_waiters_per_key(mut self, waiters: usize) -> Self {
        self.settings.max_waiters_per_key = waiters;
        self
    }

    /// How many guarded handlers run in this process; 1,024. Beyond, `503`.
    #[must_use]
    pub fn max_running(mut self, running: usize) -> Self {
        self.settings.max_running = running;
        self
    }

    /// Adds header fields that say who asks. They are part of the fingerprint wherever no scope is given.
    ///
    /// By default these are: `Authorization`, `Cf-Access-Jwt-Assertion`, `Cookie`, `DPoP` (the header of
    /// the proof, which holds the key: the rest is new in each request), `Proxy-Authorization`, `Remote-User`, `X-Access-Token`,
    /// `X-Api-Key`, `X-Auth-Token`, `X-Client-Cert`, `X-Forwarded-Client-Cert`, `X-Forwarded-Email`,
    /// `X-Forwarded-User`, `X-Goog-Iap-Jwt-Assertion`, `X-Remote-User`, `X-Tenant-Id`, `X-User-Id`, and
    /// what begins with `X-Amzn-Oidc-`, `X-Auth-Request-`, `X-Goog-Authenticated-User-`,
    /// `X-Ms-Client-Principal`, `X-Ms-Token-` or `X-SSL-Client-`.
    #[must_use]
    pub fn credentials(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.credentials.extend(headers);
        self
    }

    /// Sets the header fields that say who asks, in place of the default ones: for a service behind a
    /// gateway that puts a new token into each request beside a field that names the user.
    #[must_use]
    pub fn credentials_only(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.credentials = Fields::none();
        self.settings.credentials.extend(headers);
        self
    }

    /// Adds header fields that decide about the effect of a request, such as `X-Account` or `X-Dry-Run`:
    /// they are part of the fingerprint, and a retry with another value is another request. The
    /// preconditions `If-Match`, `If-None-Match`, `If-Modified-Since` and `If-Unmodified-Since` are by
    /// default.
    #[must_use]
    pub fn fingerprint_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.preconditions.extend(headers);
        self
    }

    /// Adds response headers that are not recorded. Hop-by-hop headers, `Date`, `Set-Cookie`,
    /// `Content-Length`, `Server-Timing` and tracing ids never are.
    #[must_use]
    pub fn do_not_record_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.unrecorded.extend(headers);
        self
    }

    /// Where the `type` of a problem answer points: this address, `#` and the code.
    #[must_use]
    pub fn docs_url(mut self, url: impl Into<String>) -> Self {
        self.settings.docs_url = url.into();
        self
    }

    /// Makes storage keys and fingerprints keyed hashes, so that nobody who reads the store can
    /// test guesses. Changing it forgets every key.
    #[must_use]
    pub fn hash_secret(mut self, secret: [u8; 32]) -> Self {
        self.settings.secret = Some(secret);
        self
    }

    /// The runtime.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when a setting protects nothing: a duration or bound of zero.
    pub fn build(self) -> Result<Idempotency, SettingsError> {
        let settings = &self.settings;
        let durations = [
            ("lease", settings.lease),
            ("ttl", settings.ttl),
            ("store_timeout", settings.store_timeout),
            ("max_run", settings.max_run),
        ];
        // Stores count in milliseconds.
        if let Some((name, _)) = durations.iter().find(|(_, value)| value.as_millis() == 0) {
            return Err(SettingsError::TooSmall { name, least: "1 ms" });
        }
        let counts = [
            ("max_running", settings.max_running),
            ("max_request_bytes", settings.max_request_bytes),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(SettingsError::TooSmall { name, least: "1" });
        }
        let names = || settings.credentials.names().filter_map(|name| name.parse().ok());
        if let Some(name) = names().find(describes_the_message) {
            return Err(SettingsError::NoCredential { name });
        }
        Ok(Idempotency { engine: Arc::new(Engine::new(self.store, self.settings)) })
    }
}

/// A setting that protects nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A duration or a bound is too small.
    #[error("`{name}` is too small; set it to {least} at least")]
    TooSmall {
        /// The setting.
        name: &'static str,
        /// Its least value.
        least: &'static str,
    },
    /// A header among the credentials does not say who asks.
    #[error("`{name}` does not say who asks; name headers like `authorization` in `credentials`")]
    NoCredential {
        /// The header.
        name: HeaderName,
    },
}
