//! A payments API in which a retry never charges twice.
//!
//! Read `api.rs` first: two guarded handlers. The rest is what every service has.

#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown)] // the names of databases are no code

mod api;
mod body;
mod ledger;
mod options;
mod payment;
mod problem;
mod records;
mod request_log;
mod server;
mod simulate;
mod startup;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use tokio::net::TcpListener;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{ledger::Ledger, options::Options, server::Signals, startup::StartError};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::read()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payments: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), StartError> {
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(io::stderr))
        .with(options.log.clone())
        .init();

    let ledger = Ledger::open(&options.database, &options.store()).await?;
    let idempotency = records::open(&options).await?;
    let api = api::router(ledger, idempotency.clone());

    // Before the address is announced, so that whoever reads it can already stop the service.
    let signals = Signals::listen()?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen))
    })?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;

    Ok(server::serve(listener, api, idempotency, signals, options.drain).await?)
}
