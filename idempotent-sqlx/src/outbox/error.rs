//! What can go wrong at the outbox.

use std::time::Duration;

/// Why the outbox could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The message has an id, topic or partition key that cannot be kept.
    #[error("the {0} of a message has to be 1 to 1024 bytes without NUL")]
    InvalidMessage(&'static str),
    /// Another message with this id is in the outbox. Two operations share an id, or one of them
    /// enqueues two messages under one name: nothing was enqueued, roll the transaction back.
    #[error("the outbox holds another message with the id `{0}`")]
    IdTaken(String),
    /// A name for the tables that is not made of lower-case letters, digits and underscores.
    #[error(
        "`{0}` is not 1 to 40 lower-case letters, digits and underscores, of which the first is no digit"
    )]
    InvalidName(String),
    /// The relay's settings contradict each other.
    #[error("{0}")]
    InvalidSettings(&'static str),
    /// The database did not answer in time: what it was asked may be done or not.
    #[error("the database did not answer within {0:?}")]
    TimedOut(Duration),
    /// The database refused.
    #[error("the database of the outbox failed")]
    Database(#[from] sqlx::Error),
}

impl OutboxError {
    /// Two relays met at one row, or SQLite was busy: the same call can succeed now.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        match error.code().as_deref() {
            Some("40001" | "40P01" | "55P03") => true,
            // SQLite: BUSY and LOCKED, whose kinds differ in the higher bits. Its numbers are shorter
            // than the codes of PostgreSQL.
            Some(code) if code.len() < 5 => {
                code.parse().is_ok_and(|code: u32| matches!(code % 256, 5 | 6))
            }
            _ => false,
        }
    }
}
