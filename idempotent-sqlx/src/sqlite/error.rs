//! What an error of SQLite says of a call.

use idempotent_runtime::StoreError;

/// Why SQLite could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The database is in memory, or on a file system that cannot share memory.
    #[error(
        "the database has no write-ahead log (its journal mode is `{0}`): give the path of a local file"
    )]
    NoLog(Box<str>),
    /// Another connection holds the lock of the database, in an open transaction.
    #[error("the database is locked by an open transaction")]
    Busy(#[source] sqlx::Error),
    /// Everything else.
    #[error("the database could not be asked")]
    Database(#[from] sqlx::Error),
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        Self::unavailable(error)
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was applied: another connection is writing.
    Busy(sqlx::Error),
    /// What the caller is told.
    Told(StoreError),
}

/// The primary result codes that mean something to a store.
mod primary {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_) => return Self::Told(StoreError::corrupt(error)),
            _ => {}
        }
        match code(&error) {
            Some(primary::BUSY | primary::LOCKED) => Self::Busy(error),
            // Nothing was applied, and nothing will be before somebody makes room.
            Some(primary::FULL) => Self::Told(StoreError::Full),
            Some(primary::CORRUPT | primary::NOT_A_DATABASE) => {
                Self::Told(StoreError::corrupt(error))
            }
            _ => Self::Told(SqliteError::Database(error).into()),
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Busy(error) => SqliteError::Busy(error).into(),
            Failed::Told(error) => error,
        }
    }
}

/// The primary part of the extended result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
