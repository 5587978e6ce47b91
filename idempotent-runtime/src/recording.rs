//! Recording in the handler's own transaction: what a store's crate needs for it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    encoding,
    execution::Execution,
    lease::Lease,
    record::{Metadata, Record},
    step::StepError,
    store::BoxError,
};

/// The execution that a handler is in, for crates that write its record in the handler's own
/// transaction. Handlers call what those crates make of it, such as `record_in` of `idempotent-sqlx`.
///
/// The order is: [`begin`](Self::begin), then the record is made and written in the transaction,
/// compared by the lease's id and token. After `begin` the engine answers only what the store confirms,
/// whatever the handler returns: a commit may fail, get lost, or be reported where there was none.
#[derive(Clone, Copy)]
pub struct Recording<'a>(&'a Execution);

impl<'a> Recording<'a> {
    pub(crate) fn new(execution: &'a Execution) -> Self {
        Self(execution)
    }

    /// From now on the engine asks the store what became of this execution.
    pub fn begin(self) {
        self.0.record();
    }

    /// The transaction was told that the lease is another's:
    /// [`Attempt::lease_lost`](crate::Attempt::lease_lost) resolves.
    pub fn lease_lost(self) {
        self.0.lease_lost();
    }

    /// The lease, whose id and token are compared in the transaction.
    pub fn lease(self) -> &'a Lease {
        self.0.lease()
    }

    /// For how long the record is replayable, from completion.
    pub fn ttl(self) -> Duration {
        self.0.policy.ttl()
    }

    /// The runtime's store, if it is an `S` (or caches one), as its
    /// [`transactional`](crate::Store::transactional) says.
    pub fn store<S: 'static>(self) -> Option<&'a S> {
        self.0.engine.store().transactional()?.downcast_ref()
    }

    /// The record of a function's value.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotSerializable`], [`RecordError::NotRecordable`].
    pub fn value<T: Serialize + ?Sized>(self, value: &T) -> Result<Record, RecordError> {
        let body = encoding::encode(value)
            .map_err(|source| RecordError::NotSerializable(source.into()))?;
        let max = self.0.engine.settings.max_response_bytes;
        match body.len() > max {
            true => Err(RecordError::NotRecordable { max }),
            false => Ok(Record::new(self.0.fingerprint, Metadata::Value, Bytes::from(body))),
        }
    }

    /// The result that an earlier attempt saved of a step.
    ///
    /// # Errors
    ///
    /// [`StepRefusal::Unreadable`](crate::StepRefusal) when it is not a `T`.
    pub fn saved_step<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>, StepError> {
        self.0.saved_step(name).map_err(|reason| StepError::new(name, reason))
    }

    /// The bytes to save of a step's result.
    ///
    /// # Errors
    ///
    /// [`StepRefusal::NotSerializable`](crate::StepRefusal), [`StepRefusal::TooLarge`](crate::StepRefusal).
    pub fn encode_step<T>(self, name: &str, value: &T) -> Result<Bytes, StepError>
    where
        T: Serialize + DeserializeOwned,
    {
        self.0.encode_step(value).map_err(|reason| StepError::new(name, reason))
    }

    #[cfg(feature = "axum")]
    pub(crate) fn execution(self) -> &'a Execution {
        self.0
    }
}

impl fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("lease", self.lease()).finish_non_exhaustive()
    }
}

/// Why an outcome was not recorded in the handler's transaction, which cannot be committed any more.
///
/// As an answer of a handler it is a `5xx`, which releases the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// An answer with this status is not recorded: return it without `record_in`, and roll back.
    #[error(
        "an answer with status {0} is transient and is not recorded; return it after a rollback"
    )]
    NotFinal(StatusCode),
    /// The answer is a stream, an upgrade, larger than `max_response_bytes`, its body failed, or it did
    /// not end within `capture_for`.
    #[error(
        "a stream, an upgrade, or an answer that has more than {max} bytes, breaks off or does not end \
         in time cannot be recorded"
    )]
    NotRecordable {
        /// How large an answer may be, in bytes.
        max: usize,
    },
    /// The value cannot be written as JSON, or JSON would not give it back: the source says why.
    #[error("the value has no form in JSON that reads back as it was")]
    NotSerializable(#[source] BoxError),
    /// The lease is another's: another process runs the operation.
    #[error("the lease was lost to another process")]
    LeaseLost,
    /// The transaction belongs to another kind of database than the store of this runtime.
    #[error("the transaction belongs to another database than the store of this runtime")]
    WrongStore,
    /// The statement failed.
    #[error("the record could not be written in the transaction")]
    Database(#[source] BoxError),
}
