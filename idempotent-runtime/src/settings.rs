//! What can be set, its defaults, and what one operation makes of it.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, header};

use crate::request_fields::Fields;

/// The defaults, written once. The table in the crate docs and the README is read against them.
pub mod defaults {
    use std::time::Duration;

    /// How long a lease holds without a renewal.
    pub const LEASE: Duration = Duration::from_secs(30);
    /// How long a duplicate waits for the answer of the first.
    pub const WAIT: Duration = Duration::from_secs(10);
    /// How long an answer is replayable, from completion.
    pub const TTL: Duration = Duration::from_hours(24);
    /// How long one call of the store may take.
    pub const STORE_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long a handler's lease is renewed.
    pub const MAX_RUN: Duration = Duration::from_mins(10);
    /// How long the body of an answer is read before it passes without being kept.
    pub const CAPTURE_FOR: Duration = Duration::from_secs(5);
    /// Largest request body, in bytes.
    pub const MAX_REQUEST_BYTES: usize = 2 * 1024 * 1024;
    /// Largest response body that is recorded, in bytes.
    pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
    /// How many duplicates wait in one process.
    pub const MAX_WAITERS: usize = 1024;
    /// How many duplicates of one key wait in one process.
    pub const MAX_WAITERS_PER_KEY: usize = 256;
    /// How many guarded handlers run in one process.
    pub const MAX_RUNNING: usize = 1024;
    /// Memory of the in-memory store, in bytes.
    pub const MEMORY_BUDGET: usize = 256 * 1024 * 1024;
    /// Where problem answers point.
    pub const DOCS_URL: &str =
        "https://docs.rs/idempotent-runtime/latest/idempotent_runtime/problems/index.html";
}

/// Which outcomes are recorded: `record = final | success | all`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordRule {
    /// Every status but 1xx, 408, 425, 429, 5xx and those that ask for another request: 401, 407, 411,
    /// 412, 413, 415, 417, 421, 423, 426, 428 and 431, which leave the key free.
    #[default]
    Final,
    /// 2xx only.
    Success,
    /// Every status but 1xx.
    All,
}

/// What happens to an operation whose outcome is unknown: `on_abandoned = rerun | halt`.
///
/// It is unknown when the lease ran out, because its process died or was cut off from the store. Under
/// [`Halt`](Self::Halt) it is unknown as well after an answer that is not recorded (a 5xx, an answer
/// marked `DoNotRecord`, an `Err` of a function), after a panic, and when the handler's future is dropped:
/// each of them leaves the operation abandoned at once, and one `WARN` line says so. A handler that knows
/// that nothing happened says so with `NoEffect` (a function with `attempt.no_effect()`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnAbandoned {
    /// The next request with the same fingerprint runs the handler again. An answer that is not recorded
    /// and a panic mean "safe to repeat".
    #[default]
    Rerun,
    /// Nothing runs until [`Idempotency::resolve`](crate::Idempotency::resolve) is called.
    Halt,
}

/// What happens when the store cannot be asked: `on_store_error = fail | bypass`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnStoreError {
    /// `503`; the handler does not run.
    #[default]
    Fail,
    /// The handler runs unguarded, and says so in the log.
    Bypass,
}

/// What happens when an outcome cannot be recorded: `on_record_failure = answer | withhold`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnRecordFailure {
    /// The client gets its answer, which stops it from retrying; recording goes on in the
    /// background.
    #[default]
    Answer,
    /// The client gets `503` after `wait`; no two senders can ever be told different answers.
    Withhold,
}

/// Settings of one runtime.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) ttl: Duration,
    pub(crate) record: RecordRule,
    pub(crate) on_abandoned: OnAbandoned,
    pub(crate) on_store_error: OnStoreError,
    pub(crate) on_record_failure: OnRecordFailure,
    pub(crate) store_timeout: Duration,
    pub(crate) max_run: Duration,
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) capture_for: Duration,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_response_bytes: usize,
    pub(crate) max_waiters: usize,
    pub(crate) max_waiters_per_key: usize,
    pub(crate) max_running: usize,
    /// Which fields of a request say who asks, and which decide about its effect.
    pub(crate) credentials: Fields,
    pub(crate) preconditions: Fields,
    pub(crate) unrecorded: Vec<HeaderName>,
    pub(crate) docs_url: String,
    pub(crate) secret: Option<[u8; 32]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: defaults::LEASE,
            wait: defaults::WAIT,
            ttl: defaults::TTL,
            record: RecordRule::default(),
            on_abandoned: OnAbandoned::default(),
            on_store_error: OnStoreError::default(),
            on_record_failure: OnRecordFailure::default(),
            store_timeout: defaults::STORE_TIMEOUT,
            max_run: defaults::MAX_RUN,
            capture_for: defaults::CAPTURE_FOR,
            max_request_bytes: defaults::MAX_REQUEST_BYTES,
            max_response_bytes: defaults::MAX_RESPONSE_BYTES,
            max_waiters: defaults::MAX_WAITERS,
            max_waiters_per_key: defaults::MAX_WAITERS_PER_KEY,
            max_running: defaults::MAX_RUNNING,
            credentials: Fields::credentials(),
            preconditions: Fields::preconditions(),
            unrecorded: vec![
                header::DATE,
                header::SET_COOKIE,
                HeaderName::from_static("server-timing"),
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("tracestate"),
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("x-trace-id"),
            ],
            docs_url: defaults::DOCS_URL.to_owned(),
            secret: None,
        }
    }
}

impl fmt::Debug for Settings {
    /// Shows that there is a secret, and not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("lease", &self.lease)
            .field("wait", &self.wait)
            .field("ttl", &self.ttl)
            .field("store_timeout", &self.store_timeout)
            .field("max_run", &self.max_run)
            .field("has_secret", &self.secret.is_some())
            .finish_non_exhaustive()
    }
}

/// Headers that most requests have and that are neither a key nor a credential: the attribute refuses
/// them as the one, [`IdempotencyBuilder::build`](crate::IdempotencyBuilder::build) as the other.
pub(crate) fn describes_the_message(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::CACHE_CONTROL
            | header::CONNECTION
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::USER_AGENT
    )
}

/// What stands in the attribute of one operation, known at compile time.
#[derive(Debug)]
pub struct Spec {
    pub(crate) handler: &'static str,
    pub(crate) operation: Option<&'static str>,
    pub(crate) optional: bool,
    /// Whether everybody shares the keys, on purpose.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) shared: bool,
    /// Whether the body counts by its value as JSON.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fingerprint_json: bool,
    /// The header of the key, where no option has an expression.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) key_header: Option<&'static str>,
    /// Fields that decide about the effect, in lower case and in the order of the alphabet.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fingerprint_headers: &'static [&'static str],
    ttl: Option<Duration>,
    lease: Option<Duration>,
    wait: Option<Duration>,
    record: Option<RecordRule>,
    on_abandoned: Option<OnAbandoned>,
    on_store_error: Option<OnStoreError>,
    on_record_failure: Option<OnRecordFailure>,
}

#[allow(missing_docs, clippy::missing_docs_in_private_items)] // named after the options they set
impl Spec {
    pub const fn new(handler: &'static str) -> Self {
        Self {
            handler,
            operation: None,
            optional: false,
            shared: false,
            fingerprint_json: false,
            key_header: None,
            fingerprint_headers: &[],
            ttl: None,
            lease: None,
            wait: None,
            record: None,
            on_abandoned: None,
            on_store_error: None,
            on_record_failure: None,
        }
    }

    #[must_use]
    pub const fn operation(mut self, operation: &'static str) -> Self {
        self.operation = Some(operation);
        self
    }

    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    #[must_use]
    pub const fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    #[must_use]
    pub const fn fingerprint_json(mut self) -> Self {
        self.fingerprint_json = true;
        self
    }

    #[must_use]
    pub const fn key_header(mut self, name: &'static str) -> Self {
        self.key_header = Some(name);
        self
    }

    #[must_use]
    pub const fn fingerprint_headers(mut self, names: &'static [&'static str]) -> Self {
        self.fingerprint_headers = names;
        self
    }

    #[must_use]
    pub const fn ttl(mut self, millis: u64) -> Self {
        self.ttl = Some(Duration::from_millis(millis));
        self
    }

    #[must_use]
    pub const fn lease(mut self, millis: u64) -> Self {
        self.lease = Some(Duration::from_millis(millis));
        self
    }

    #[must_use]
    pub const fn wait(mut self, millis: u64) -> Self {
        self.wait = Some(Duration::from_millis(millis));
        self
    }

    #[must_use]
    pub const fn record(mut self, rule: RecordRule) -> Self {
        self.record = Some(rule);
        self
    }

    #[must_use]
    pub const fn on_abandoned(mut self, choice: OnAbandoned) -> Self {
        self.on_abandoned = Some(choice);
        self
    }

    #[must_use]
    pub const fn on_store_error(mut self, choice: OnStoreError) -> Self {
        self.on_store_error = Some(choice);
        self
    }

    #[must_use]
    pub const fn on_record_failure(mut self, choice: OnRecordFailure) -> Self {
        self.on_record_failure = Some(choice);
        self
    }
}

/// What holds for one request: the operation's own options, else the runtime's. They belong to the
/// operation, never to the store: two handlers may share one.
///
/// Looked up where they are needed: few requests need more than the first two.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) spec: &'static Spec,
    pub(crate) settings: Arc<Settings>,
}

impl Policy {
    pub(crate) fn lease(&self) -> Duration {
        self.spec.lease.unwrap_or(self.settings.lease)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.spec.ttl.unwrap_or(self.settings.ttl)
    }

    pub(crate) fn wait(&self) -> Duration {
        self.spec.wait.unwrap_or(self.settings.wait)
    }

    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn record(&self) -> RecordRule {
        self.spec.record.unwrap_or(self.settings.record)
    }

    /// Whether what was abandoned is never executed again.
    pub(crate) fn halts(&self) -> bool {
        self.spec.on_abandoned.unwrap_or(self.settings.on_abandoned) == OnAbandoned::Halt
    }

    /// Whether a store that cannot be asked is passed by.
    pub(crate) fn bypasses(&self) -> bool {
        self.spec.on_store_error.unwrap_or(self.settings.on_store_error) == OnStoreError::Bypass
    }

    /// Whether an answer that is not recorded is held back.
    pub(crate) fn withholds(&self) -> bool {
        let choice = self.spec.on_record_failure.unwrap_or(self.settings.on_record_failure);
        choice == OnRecordFailure::Withhold
    }
}
