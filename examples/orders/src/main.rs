//! An order from the click to its shipment, exactly once.
//!
//! Read `api.rs` and `consumer.rs` first: a guarded handler, and a guarded function behind a broker.
//! `database.rs` and `broker.rs` say what the two need; `reconcile.rs` checks what came of it.

#![forbid(unsafe_code)]

mod api;
mod body;
mod broker;
mod consumer;
mod database;
mod fault;
mod options;
mod order;
mod problem;
mod reconcile;
mod roles;
mod shop;
mod signals;
mod startup;

use std::{io, process::ExitCode};

use clap::Parser as _;
use idempotent_sqlx::sqlx::{Postgres, Sqlite};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    database::Database,
    options::{DatabaseUrl, Options, Task},
    shop::Shop,
    startup::StartError,
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(io::stderr))
        .with(options.log.clone())
        .init();

    let ended = match &options.database {
        DatabaseUrl::Sqlite(url) => run::<Sqlite>(url, &options).await,
        DatabaseUrl::Postgres(url) => run::<Postgres>(url, &options).await,
    };
    ended.unwrap_or_else(|error| {
        eprintln!("orders: {error}");
        ExitCode::from(2)
    })
}

/// Everything behind this line is the same for both databases.
async fn run<DB: Database>(url: &str, options: &Options) -> Result<ExitCode, StartError> {
    let shop = Shop::<DB>::open(url, options.fault).await?;
    match options.task() {
        Task::Reconcile { older_than } => reconcile::run(&shop, older_than).await,
        Task::Run(roles) => roles::run(shop, roles, options).await,
    }
}
