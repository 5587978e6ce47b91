//! Recovery points: the durable results of the steps inside a handler.

use std::{fmt, future::Future};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{
    attempt::Attempt,
    encoding,
    engine::{Backoff, CONFIRM, pause},
    execution::Execution,
    heartbeat::far,
    outage::{Cause, Ends},
    store::{BoxError, StoreError},
};

impl Attempt {
    /// Runs one step of the handler, and keeps its result: a later attempt gets the result and does
    /// not run the step again.
    ///
    /// The result is saved once per operation and survives what ends an attempt: a transient answer, a
    /// panic, a process that was killed. The step's *effect* happens at least once, because a process
    /// may be killed between effect and save: give the effect a
    /// [`downstream_key`](Self::downstream_key), so that whoever receives it twice can tell.
    ///
    /// An `Err` of `work` is not saved. Where nothing is guarded, `work` runs and nothing is saved.
    ///
    /// Results are kept as JSON, of at most `max_response_bytes`. A result that JSON would not give
    /// back is refused in the first attempt: `Some` of what is `null` itself (`Some(())`,
    /// `Some(None)`, `Some(Value::Null)`), `NaN` and the infinities, and whatever its `Deserialize`
    /// cannot read. `work` has had its effect then, and has it again in the next attempt: return a
    /// `bool`, an enum or an id instead.
    ///
    /// ```
    /// # #[cfg(all(feature = "axum", feature = "macros"))] mod example {
    /// # async fn charge(_key: String) -> Result<u64, StepError> { Ok(7) }
    /// # async fn send_receipt(_charge: u64) -> Result<(), StepError> { Ok(()) }
    /// use idempotent_runtime::{Attempt, StepError, idempotent};
    ///
    /// #[idempotent(key = header("Idempotency-Key"))]
    /// async fn pay(attempt: Attempt) -> Result<String, StepError> {
    ///     let charge = attempt.step("charge", charge(attempt.downstream_key("charge"))).await?;
    ///     // If this fails, the next attempt sends the receipt without a second charge.
    ///     attempt.step("receipt", send_receipt(charge)).await?;
    ///     Ok(format!("charge {charge}"))
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What `work` answers; [`StepError`] when the step was not run or its result is not saved.
    pub async fn step<T, E, F>(&self, name: &str, work: F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
    {
        let Some(execution) = self.execution() else { return work.await };
        let refused = |reason| StepError { name: name.into(), reason };
        let begun = execution.begin_step(name).ok_or_else(|| refused(StepRefusal::Duplicate))?;
        if let Some(saved) = execution.saved_step(name).map_err(refused)? {
            begun.end();
            return Ok(saved);
        }
        execution.reserve().await.map_err(|error| refused(execution.failed(error)))?;
        let value = work.await?;
        let bytes = execution.encode_step(&value).map_err(refused)?;
        let saved = execution.save_step(name, &bytes).await;
        saved.map_err(|error| refused(execution.failed(error)))?;
        begun.end();
        Ok(value)
    }
}

impl Execution {
    /// The result that an earlier attempt saved.
    pub(crate) fn saved_step<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StepRefusal> {
        let Some(saved) = self.lease().steps.get(name) else { return Ok(None) };
        encoding::decode(saved).map(Some).map_err(|source| StepRefusal::Unreadable(source.into()))
    }

    pub(crate) fn encode_step<T>(&self, value: &T) -> Result<Bytes, StepRefusal>
    where
        T: Serialize + DeserializeOwned,
    {
        let formless = |source: serde_json::Error| StepRefusal::NotSerializable(source.into());
        let bytes = encoding::encode(value).map_err(formless)?;
        let max = self.engine.settings.max_response_bytes;
        if bytes.len() > max {
            return Err(StepRefusal::TooLarge { bytes: bytes.len(), max });
        }
        encoding::check_readable::<T>(&bytes).map_err(formless)?;
        Ok(bytes.into())
    }

    /// Renews the lease, so that a step does not begin under one that is about to run out, and finds
    /// room for its result before it has an effect.
    async fn reserve(&self) -> Result<(), StoreError> {
        let until = far(Instant::now(), CONFIRM);
        let mut backoff = Backoff::new();
        loop {
            match self.reserve_step().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_unknown() && pause(&mut backoff, until).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Saves a result. One whose answer is lost is saved again: equal bytes are no conflict. The step
    /// had its effect, so one call that hangs is not the last.
    async fn save_step(&self, name: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let until = far(Instant::now(), self.engine.settings.store_timeout.saturating_add(CONFIRM));
        let mut backoff = Backoff::new();
        loop {
            let saving = self.engine.store().save_step(self.lease(), name, bytes.clone());
            match self.engine.bounded(saving).await.map_err(|error| self.told(error)) {
                Ok(()) => {
                    self.engine.outages.recovered(Ends::SAVED);
                    return Ok(());
                }
                Err(error) if error.is_unknown() && pause(&mut backoff, until).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A call of the store that a step cannot do without.
    #[cold]
    fn failed(&self, error: StoreError) -> StepRefusal {
        if !matches!(error, StoreError::LeaseLost) {
            let key = &self.lease().key;
            self.engine.outages.failed(Cause::Steps, self.operation(), key, &error);
        }
        error.into()
    }
}

/// Why a step was not run, or its result is not saved.
///
/// As an answer of a handler it is a `5xx`, which releases the key: the next attempt goes on where
/// this one stopped.
#[derive(Debug)]
pub struct StepError {
    name: Box<str>,
    reason: StepRefusal,
}

/// The reasons of a [`StepError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum StepRefusal {
    /// The name has been used in this attempt. Not run.
    Duplicate,
    /// An earlier attempt saved a value that is not of this type. Not run.
    Unreadable(BoxError),
    /// The result cannot be written as JSON, or JSON would not give it back: the source says why. The
    /// step ran, and is not saved.
    NotSerializable(BoxError),
    /// The result is larger than `max_response_bytes`. The step ran, and is not saved.
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// The lease is another's: another process runs the operation. Not run, or not saved.
    LeaseLost,
    /// The store could not be asked. Not run, or not saved.
    Store(StoreError),
    /// The transaction belongs to another kind of database than the store. Not run.
    WrongStore,
    /// A statement of the transaction failed. Not saved.
    Database(BoxError),
}

impl From<StoreError> for StepRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost => Self::LeaseLost,
            error => Self::Store(error),
        }
    }
}

impl StepError {
    /// For crates that run steps in a transaction of their store.
    pub fn new(name: &str, reason: StepRefusal) -> Self {
        Self { name: name.into(), reason }
    }

    /// Which step it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it was refused.
    pub fn reason(&self) -> &StepRefusal {
        &self.reason
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}`: ", self.name)?;
        match &self.reason {
            StepRefusal::Duplicate => {
                f.write_str("this attempt has a step of this name already; give each its own")
            }
            StepRefusal::Unreadable(_) => f.write_str(
                "an earlier attempt saved a value of another type; give a changed step a new name",
            ),
            StepRefusal::NotSerializable(_) => {
                f.write_str("its result has no form in JSON that reads back as it was")
            }
            StepRefusal::TooLarge { bytes, max } => {
                write!(f, "its result has {bytes} bytes, of which at most {max} are kept")
            }
            StepRefusal::LeaseLost => f.write_str("the lease was lost to another process"),
            StepRefusal::Store(error) => error.fmt(f),
            StepRefusal::WrongStore => f.write_str(
                "the transaction belongs to another database than the store of this runtime",
            ),
            StepRefusal::Database(_) => f.write_str("the transaction refused it"),
        }
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            StepRefusal::Unreadable(source)
            | StepRefusal::NotSerializable(source)
            | StepRefusal::Database(source) => Some(&**source),
            StepRefusal::Store(source) => source.source(),
            _ => None,
        }
    }
}
