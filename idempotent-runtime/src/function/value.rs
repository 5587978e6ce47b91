//! What a guarded function may return, and how its value is written and read.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    encoding,
    engine::Answer,
    error::Error,
    record::{Metadata, Record},
};

/// What a guarded function returns: a `Result`.
#[diagnostic::on_unimplemented(
    message = "an idempotent function returns a `Result<T, E>`, not `{Self}`",
    label = "its `Ok` is recorded and replayed, its `Err` means that it may run again",
    note = "write `Result<{Self}, E>`, where `E: From<idempotent_runtime::Error>`, or `idempotent_runtime::Error` itself"
)]
pub trait Returned: Sized {
    /// What is recorded.
    type Value;
    /// What is not.
    type Error;

    /// The value, unless it is an error.
    fn value(&self) -> Option<&Self::Value>;
    /// Gives a value.
    fn of_value(value: Self::Value) -> Self;
    /// Gives an error.
    fn of_error(error: Self::Error) -> Self;
}

impl<T, E> Returned for Result<T, E> {
    type Value = T;
    type Error = E;

    fn value(&self) -> Option<&T> {
        self.as_ref().ok()
    }

    fn of_value(value: T) -> Self {
        Ok(value)
    }

    fn of_error(error: E) -> Self {
        Err(error)
    }
}

/// What can be recorded.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded as the value of an idempotent function",
    label = "the `Ok` value has to survive being written and read again",
    note = "derive both on it: `#[derive(serde::Serialize, serde::Deserialize)]`; it owns what it holds, so `String` and not `&str`",
    note = "or return an id that can be recorded, and read what belongs to it afterwards"
)]
pub trait Recordable: Serialize + DeserializeOwned {}

impl<T: Serialize + DeserializeOwned> Recordable for T {}

/// What can say that a call was refused.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say why an idempotent function was not executed",
    label = "the error has to be made from `idempotent_runtime::Error`",
    note = "write `impl From<idempotent_runtime::Error> for {Self}`, or with thiserror a variant `#[error(transparent)] Idempotency(#[from] idempotent_runtime::Error)`"
)]
pub trait Refusable: From<Error> {}

impl<E: From<Error>> Refusable for E {}

/// How the values of a function that returns `R` are written and read, and how it says that it was
/// refused. What asks more of `R` than to be there stands in [`values`] only, so that a type that
/// cannot be guarded is told of once.
pub struct Values<R> {
    encode: fn(&R) -> Option<serde_json::Result<Vec<u8>>>,
    decode: fn(&[u8]) -> serde_json::Result<R>,
    refuse: fn(Error) -> R,
}

/// The values of a function that returns `R`.
pub fn values<R>() -> Values<R>
where
    R: Returned<Value: Recordable, Error: Refusable>,
{
    Values {
        encode: |returned| returned.value().map(encoding::encode),
        decode: |bytes| encoding::decode(bytes).map(R::of_value),
        refuse: |error| R::of_error(error.into()),
    }
}

impl<R> Values<R> {
    /// The text of the value; `None` of an error.
    pub(super) fn encode(&self, returned: &R) -> Option<serde_json::Result<Vec<u8>>> {
        (self.encode)(returned)
    }

    pub(super) fn refuse(&self, error: Error) -> R {
        (self.refuse)(error)
    }

    pub(super) fn answer(&self, answer: Answer<R>, operation: &'static str) -> R {
        let given = match answer {
            Answer::Own(returned) => return returned,
            Answer::Replay(record) | Answer::Shared(record) | Answer::Committed(record) => {
                self.read(&record, operation)
            }
            Answer::Refused(refused) => Err(Error::of(refused, operation)),
        };
        given.unwrap_or_else(|error| self.refuse(error))
    }

    fn read(&self, record: &Record, operation: &'static str) -> Result<R, Error> {
        let source = match record.metadata() {
            Metadata::Value => match (self.decode)(record.body()) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Metadata::Tombstone { .. } => return Err(Error::NotReplayable { operation }),
            // The key of a function is no handler's: somebody has written it there.
            other => format!("a {} is recorded where a value should be", other.kind()).into(),
        };
        tracing::error!(operation, %source, "what is recorded is not readable as a value");
        Err(Error::Unreadable { operation, source })
    }
}

impl<R> Clone for Values<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Values<R> {}

impl<R> fmt::Debug for Values<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}
