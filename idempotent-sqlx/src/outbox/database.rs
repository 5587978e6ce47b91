//! What the two databases have in common: the steps, and how a value goes in and comes out.
// Sealed: what is public here is so for the sake of the trait alone.
#![allow(unnameable_types)]

use std::{future::Future, sync::Arc};

use sqlx::{Database, Pool};

use super::error::OutboxError;

/// One thing that is asked of the database, in one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Inserts a message unless its id is there.
    Insert,
    /// Whether the message of this id is the same.
    Same,
    /// Whether a slot that nobody holds has something to publish.
    Due,
    /// Leases such slots.
    Claim,
    /// The first messages of each leased slot that nothing blocks.
    Fetch,
    /// Marks messages as published.
    Published,
    /// Counts a failed attempt, or gives up.
    Failed,
    /// Gives slots back.
    Release,
    /// Pending, waiting, dead, age of the oldest.
    Status,
    /// The dead letters.
    Dead,
    /// A dead letter is pending again.
    Retry,
    /// A dead letter is given up for good.
    Discard,
    /// Removes what was settled long enough ago.
    Purge,
}

impl Step {
    const ALL: [Self; 13] = [
        Self::Insert,
        Self::Same,
        Self::Due,
        Self::Claim,
        Self::Fetch,
        Self::Published,
        Self::Failed,
        Self::Release,
        Self::Status,
        Self::Dead,
        Self::Retry,
        Self::Discard,
        Self::Purge,
    ];
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Sql {
    pub(super) text: Arc<str>,
    /// Whether it is prepared once for a connection.
    pub(super) prepared: bool,
}

/// A value of a statement. Lists go as JSON text.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Numbers; durations as microseconds.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A database that can keep an outbox. Sealed by its private home.
pub trait Backend: Database {
    /// Begins a transaction that writes. Never the session's default isolation: under REPEATABLE READ
    /// a relay would read with the eyes it had before it got the lease.
    const BEGIN: &'static str;

    /// The SQL of a step, with places for the names.
    fn template(step: Step) -> &'static str;

    /// How tables and indexes are called.
    fn names(schema: &str, name: &str) -> Names;

    /// Creates what is missing.
    fn migrate(
        pool: &Pool<Self>,
        names: &Names,
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;

    /// Runs a statement and says how many rows it changed.
    fn execute(
        connection: &mut Self::Connection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a statement and answers its rows.
    fn rows(
        connection: &mut Self::Connection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// A column; 0 where it is null.
    fn int(row: &Self::Row, at: usize) -> Result<i64, sqlx::Error>;
    /// A column; empty where it is null.
    fn text(row: &Self::Row, at: usize) -> Result<String, sqlx::Error>;
    /// A column.
    fn bytes(row: &Self::Row, at: usize) -> Result<Vec<u8>, sqlx::Error>;
}

/// What stands in a template between braces.
#[derive(Clone, Debug)]
pub struct Names {
    pub(super) schema: String,
    /// Of indexes.
    pub(super) name: String,
    pub(super) messages: String,
    pub(super) slots: String,
}

impl Names {
    pub(super) fn fill(&self, template: &str) -> String {
        template
            .replace("{name}", &self.name)
            .replace("{messages}", &self.messages)
            .replace("{slots}", &self.slots)
            .replace("{count}", &super::slot::SLOTS.to_string())
    }
}

/// Part of a statement: lower-case letters, digits and underscores need no quoting but of words that
/// SQL keeps for itself.
pub(super) fn checked_name(name: &str) -> Result<String, OutboxError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let valid = (1..=40).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if valid { Ok(name.to_owned()) } else { Err(OutboxError::InvalidName(name.to_owned())) }
}

/// The statements of one outbox.
#[derive(Clone)]
pub(super) struct Statements {
    texts: [Arc<str>; Step::ALL.len()],
    prepared: bool,
}

impl Statements {
    pub(super) fn new<DB: Backend>(names: &Names) -> Self {
        let texts = Step::ALL.map(|step| names.fill(DB::template(step)).into());
        Self { texts, prepared: true }
    }

    pub(super) fn prepared(self, prepared: bool) -> Self {
        Self { prepared, ..self }
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.prepared
    }

    pub(super) fn sql(&self, step: Step) -> Sql {
        Sql { text: Arc::clone(&self.texts[step as usize]), prepared: self.prepared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_place() {
        assert!(Step::ALL.iter().enumerate().all(|(at, step)| *step as usize == at));
    }

    #[test]
    fn names_that_are_no_identifiers_are_refused() {
        for name in ["", "7", "a-b", "a\"b", "A", "é", &"a".repeat(41)] {
            assert!(checked_name(name).is_err(), "{name}");
        }
        assert_eq!(checked_name("order_events_2").unwrap(), "order_events_2");
    }
}
