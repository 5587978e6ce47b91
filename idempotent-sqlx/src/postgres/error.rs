//! What an error of the database says of a call.

use std::borrow::Cow;

use idempotent_runtime::StoreError;

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// The database lost a race within itself and applied nothing: ask again.
    Repeat,
    /// A lock was not free in time; nothing was applied: ask again, a few times.
    Wait,
    /// The connection is of no use. Whether the call was applied is unknown.
    Reconnect,
    /// Transactions have another isolation level by default; nothing was applied.
    Isolate,
    /// Nothing helps.
    Fail,
}

/// Why PostgreSQL could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The tables or functions of the store are not there.
    #[error("the tables of the store are missing or older than this version; call `migrate`")]
    NotMigrated(#[source] sqlx::Error),
    /// A lock on the key was not free, however often it was asked for.
    #[error("the key is locked by an open transaction")]
    Locked(#[source] sqlx::Error),
    /// The database lost races against itself too often.
    #[error("the key changed each time it was looked at")]
    Contended,
    /// The first answer was lost, and the second can tell nothing.
    #[error("whether the call was applied is unknown")]
    AnswerLost,
    /// A step's name holds the character 0, which text of PostgreSQL cannot hold.
    #[error("a name holds the character 0, which PostgreSQL cannot store")]
    Name,
    /// Everything else.
    #[error("the database could not be asked")]
    Database(#[from] sqlx::Error),
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        Self::unavailable(error)
    }
}

pub(super) fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

pub(super) fn remedy(error: &sqlx::Error) -> Remedy {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => return Remedy::Reconnect,
        _ => {}
    }
    match code(error).as_deref() {
        // Serialization failure, deadlock, a foreign key or a unique index that met a row which its
        // statement could not see yet.
        Some("40001" | "40P01" | "23503" | "23505") => Remedy::Repeat,
        Some("55P03") => Remedy::Wait,
        Some("ID001") => Remedy::Isolate,
        // A server that ends or begins, a session that it ended, and a standby that was a primary.
        Some("57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006") => Remedy::Reconnect,
        Some(code) if code.starts_with("08") => Remedy::Reconnect,
        _ => Remedy::Fail,
    }
}

/// What the caller is told in the end.
pub(super) fn told(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. } => return StoreError::corrupt(error),
        _ => {}
    }
    let code = code(&error).map(Cow::into_owned);
    match code.as_deref() {
        // Nothing was applied, and nothing will be before somebody makes room.
        Some("53100") => StoreError::Full,
        Some("XX001" | "XX002") => StoreError::corrupt(error),
        Some("3F000" | "42883" | "42P01") => PostgresError::NotMigrated(error).into(),
        Some("55P03") => PostgresError::Locked(error).into(),
        _ => PostgresError::Database(error).into(),
    }
}
