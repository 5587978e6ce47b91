//! What is asked of a database, so that everything else is written once.

mod postgres;
mod sqlite;

use idempotent_runtime::Store;
use idempotent_sqlx::{
    Transactional,
    outbox::{Outbox, OutboxDatabase},
    sqlx::{self, Pool, Transaction},
};

use crate::startup::StartError;

/// A database with a store for records and an outbox: `PostgreSQL`, `SQLite`.
pub(crate) trait Database: OutboxDatabase + Transactional {
    /// Keeps keys and records.
    type Records: Store;

    /// How its SQL differs.
    const DIALECT: Dialect;

    /// Opens it, and creates what is missing.
    fn open(url: &str) -> impl Future<Output = Result<Opened<Self>, StartError>> + Send;

    /// A transaction that will write.
    fn begin(
        pool: &Pool<Self>,
    ) -> impl Future<Output = sqlx::Result<Transaction<'static, Self>>> + Send;

    /// The rows that were found.
    fn query(
        connection: &mut Self::Connection,
        sql: String,
        values: &[Value<'_>],
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// Reads a column.
    fn read_int(row: &Self::Row, at: usize) -> sqlx::Result<i64>;

    /// Reads a column.
    fn read_text(row: &Self::Row, at: usize) -> sqlx::Result<String>;
}

/// What [`Database::open`] has opened.
pub(crate) struct Opened<DB: Database> {
    /// For orders and shipments. The store has a pool of its own: handlers that hold all connections
    /// of a shared one in open transactions would keep it from answering them.
    pub(crate) pool: Pool<DB>,
    pub(crate) records: DB::Records,
    pub(crate) outbox: Outbox<DB>,
}

/// A value of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Int(i64),
    Text(&'a str),
}

/// How the SQL of two databases differs. Both write parameters as `$1`.
pub(crate) struct Dialect {
    /// Begins a transaction that sees one moment.
    pub(crate) snapshot: &'static str,
    /// The words in braces, and what they stand for.
    pub(crate) words: [(&'static str, &'static str); 5],
}

impl Dialect {
    pub(crate) fn fill(&self, template: &str) -> String {
        self.words.iter().fold(template.to_owned(), |sql, (word, text)| sql.replace(word, text))
    }
}
