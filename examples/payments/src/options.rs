//! What can be set on the command line or in the environment.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::Parser;
use idempotent_runtime::MemoryStore;
use tracing_subscriber::filter::Targets;

/// A payments API in which a retry never charges twice.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "PAYMENTS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// Where the payments are: `memory`
    #[arg(long, env = "PAYMENTS_DATABASE", hide_env_values = true, default_value = "memory")]
    pub(crate) database: Database,

    /// Where the idempotency keys and recorded answers are: `memory`
    #[arg(long, env = "PAYMENTS_STORE", hide_env_values = true, default_value = "memory")]
    pub(crate) store: Store,

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
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// In this process; gone when it ends.
    Memory,
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            _ => Err("expected `memory`".to_owned()),
        }
    }
}

/// Where the idempotency keys and recorded answers are.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In this process; gone when it ends.
    Memory,
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            _ => Err("expected `memory`".to_owned()),
        }
    }
}

impl Store {
    pub(crate) fn open(&self) -> MemoryStore {
        match self {
            Self::Memory => MemoryStore::new(),
        }
    }
}
