//! What can be set on the command line or in the environment.

use std::{ffi::OsStr, net::SocketAddr, time::Duration};

use clap::{Arg, Args, Error, Parser, Subcommand, builder::TypedValueParser, error::ErrorKind};
use tracing_subscriber::filter::Targets;

use crate::{broker::BrokerUrl, fault::Fault};

/// An order from the click to its shipment, exactly once.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where everything is kept: `sqlite:FILE` or `postgres://…`
    #[arg(
        long,
        global = true,
        env = "ORDERS_DATABASE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite:orders.db",
        value_parser = Secret(DatabaseUrl::parse)
    )]
    pub(crate) database: DatabaseUrl,

    /// What carries messages: `channel` inside of this process, or `nats://…` (its streams)
    #[arg(
        long,
        global = true,
        env = "ORDERS_BROKER",
        hide_env_values = true,
        value_name = "URL",
        default_value = "channel",
        value_parser = Secret(BrokerUrl::parse)
    )]
    pub(crate) broker: BrokerUrl,

    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        global = true,
        env = "ORDERS_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:3001"
    )]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) messages: Messages,

    /// How long a shutdown waits for what is running
    #[arg(
        long,
        global = true,
        env = "ORDERS_DRAIN",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    pub(crate) drain: Duration,

    /// What is logged to stderr; the outcomes of the guard are at `debug`
    #[arg(
        long,
        global = true,
        env = "ORDERS_LOG",
        value_name = "FILTER",
        default_value = "info,sqlx=warn,idempotent_runtime=debug"
    )]
    pub(crate) log: Targets,

    /// For tests: stops at a point, to be killed there
    #[arg(long, global = true, env = "ORDERS_FAULT", hide = true)]
    pub(crate) fault: Option<Fault>,
}

/// How messages travel.
#[derive(Args, Clone, Copy)]
pub(crate) struct Messages {
    /// How many messages a consumer ships at a time
    #[arg(
        long,
        global = true,
        env = "ORDERS_IN_FLIGHT",
        value_name = "MESSAGES",
        default_value = "32",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) in_flight: u16,

    /// How long the messages of a relay that was killed wait for another one; at least 1s
    #[arg(
        long,
        global = true,
        env = "ORDERS_RELAY_LEASE",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = at_least_1s
    )]
    pub(crate) relay_lease: Duration,

    /// NATS: how long it waits for an acknowledgement before it delivers again
    #[arg(
        long,
        global = true,
        env = "ORDERS_ACK_WAIT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    pub(crate) ack_wait: Duration,

    /// NATS: for how long it drops a message that was published twice; at least 100ms
    #[arg(
        long,
        global = true,
        env = "ORDERS_DUPLICATE_WINDOW",
        value_name = "DURATION",
        default_value = "2m",
        value_parser = humantime::parse_duration
    )]
    pub(crate) duplicate_window: Duration,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Everything in one process: the default
    All,
    /// The HTTP API alone
    Serve,
    /// The relay alone: from the outbox to the broker
    Relay,
    /// The consumer alone: from the broker to the shipment
    Consume,
    /// Compares orders, records, messages and shipments, and lists what disagrees
    Reconcile {
        /// What has to be done by itself counts only when it was not done for that long
        #[arg(
            long,
            value_name = "DURATION",
            default_value = "1m",
            value_parser = humantime::parse_duration
        )]
        older_than: Duration,
    },
}

/// What this process is for.
#[derive(Clone, Copy)]
pub(crate) enum Task {
    Run(Roles),
    Reconcile { older_than: Duration },
}

/// Which parts run in this process.
#[derive(Clone, Copy, Default)]
pub(crate) struct Roles {
    pub(crate) serve: bool,
    pub(crate) relay: bool,
    pub(crate) consume: bool,
}

impl Options {
    pub(crate) fn task(&self) -> Task {
        let none = Roles::default();
        Task::Run(match self.command {
            None | Some(Command::All) => Roles { serve: true, relay: true, consume: true },
            Some(Command::Serve) => Roles { serve: true, ..none },
            Some(Command::Relay) => Roles { relay: true, ..none },
            Some(Command::Consume) => Roles { consume: true, ..none },
            Some(Command::Reconcile { older_than }) => return Task::Reconcile { older_than },
        })
    }
}

/// Where everything is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    Sqlite(String),
    Postgres(String),
}

impl DatabaseUrl {
    fn parse(url: &str) -> Result<Self, &'static str> {
        match url.split_once(':') {
            // Every connection would have a database of its own.
            Some(("sqlite", "" | ":memory:" | "//:memory:")) => {
                Err("expected a file: sqlite:orders.db")
            }
            Some(("sqlite", _)) => Ok(Self::Sqlite(url.to_owned())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url.to_owned())),
            _ => Err("expected `sqlite:FILE` or `postgres://…`"),
        }
    }
}

fn at_least_1s(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        Ok(_) => Err("expected at least 1s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a URL that may hold a password, so that no complaint repeats it.
#[derive(Clone)]
struct Secret<T>(fn(&str) -> Result<T, &'static str>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Secret<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        value.to_str().map_or(Err("expected UTF-8"), self.0).map_err(|expected| {
            let option = argument.map(Arg::to_string).unwrap_or_default();
            let told = format!("invalid value for '{option}': {expected}");
            command.clone().error(ErrorKind::ValueValidation, told)
        })
    }
}
