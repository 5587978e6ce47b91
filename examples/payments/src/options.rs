//! What can be set on the command line or in the environment.

use std::{ffi::OsStr, net::SocketAddr, time::Duration};

use clap::{
    Arg, Command, CommandFactory as _, Parser,
    builder::TypedValueParser,
    error::{Error, ErrorKind},
};
use idempotent_runtime::defaults;
use tracing_subscriber::filter::Targets;

/// A payments API in which a retry never charges twice.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "PAYMENTS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// Where the payments are: `memory`, `sqlite:payments.db` or `postgres://…`
    #[arg(
        long,
        env = "PAYMENTS_DATABASE",
        hide_env_values = true,
        default_value = "memory",
        value_parser = Secret(Database::parse)
    )]
    pub(crate) database: Database,

    /// Where the idempotency keys and recorded answers are: `memory`, `database` or `redis://…`
    /// [default: `database` where there is one]
    #[arg(
        long,
        env = "PAYMENTS_STORE",
        hide_env_values = true,
        value_parser = Secret(Store::parse)
    )]
    store: Option<Store>,

    /// What the keys in Redis begin with; services that share one have a prefix each
    #[arg(long, env = "PAYMENTS_PREFIX", value_name = "TEXT", default_value = "payments:")]
    pub(crate) prefix: String,

    /// How long a crashed process blocks its keys
    #[arg(
        long,
        env = "PAYMENTS_LEASE",
        value_name = "DURATION",
        default_value_t = defaults::LEASE.into(),
    )]
    pub(crate) lease: humantime::Duration,

    /// How long a duplicate waits for the answer of the first
    #[arg(
        long,
        env = "PAYMENTS_WAIT",
        value_name = "DURATION",
        default_value_t = defaults::WAIT.into(),
    )]
    pub(crate) wait: humantime::Duration,

    /// How long a shutdown waits for what is running
    #[arg(
        long,
        env = "PAYMENTS_DRAIN",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    pub(crate) drain: Duration,

    /// What is logged to stderr; the outcomes of the guard are at `debug`
    #[arg(
        long,
        env = "PAYMENTS_LOG",
        value_name = "FILTER",
        default_value = "info,idempotent_runtime=debug"
    )]
    pub(crate) log: Targets,
}

/// Where the payments are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// In this process; gone when it ends.
    Memory,
    /// In a file, by its URL.
    Sqlite(String),
    /// In a PostgreSQL database, by its URL.
    Postgres(String),
}

/// Where the idempotency keys and recorded answers are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// In this process; gone when it ends.
    Memory,
    /// In the database of the payments.
    Database,
    /// In a Redis, by its URL.
    Redis(String),
}

impl Options {
    /// Reads them, or ends the process with what was expected.
    pub(crate) fn read() -> Self {
        let options = Self::parse();
        if options.database == Database::Memory && options.store == Some(Store::Database) {
            let says = "`--store database` keeps the records beside the payments: \
                        it needs `--database sqlite:payments.db` or `--database postgres://…`";
            Self::command().error(ErrorKind::ArgumentConflict, says).exit();
        }
        options
    }

    /// Where there is a database, the records are in it.
    pub(crate) fn store(&self) -> Store {
        match (&self.store, &self.database) {
            (Some(store), _) => store.clone(),
            (None, Database::Memory) => Store::Memory,
            (None, Database::Sqlite(_) | Database::Postgres(_)) => Store::Database,
        }
    }
}

impl Database {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "memory" => Ok(Self::Memory),
            // Every connection would have another database of its own.
            "sqlite:" | "sqlite::memory:" | "sqlite://:memory:" => {
                Err("a file: sqlite:payments.db")
            }
            _ if text.starts_with("sqlite:") => Ok(Self::Sqlite(text.to_owned())),
            _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err("`memory`, `sqlite:payments.db` or `postgres://…`"),
        }
    }
}

impl Store {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "memory" => Ok(Self::Memory),
            "database" => Ok(Self::Database),
            _ if text.starts_with("redis://") => Ok(Self::Redis(text.to_owned())),
            _ => Err("`memory`, `database` or `redis://…`"),
        }
    }
}

/// Reads a value that may hold a password, so that no complaint repeats it.
#[derive(Clone)]
struct Secret<T>(fn(&str) -> Result<T, &'static str>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Secret<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        value.to_str().map_or(Err("UTF-8"), self.0).map_err(|expected| {
            let option = arg.map(Arg::to_string).unwrap_or_default();
            let says = format!("invalid value for '{option}': expected {expected}");
            command.clone().error(ErrorKind::ValueValidation, says)
        })
    }
}
