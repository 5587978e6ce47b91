//! Why a process did not start, or did not go on, and what to do.

use std::{error::Error, fmt, io};

use idempotent_runtime::StoreError;
use idempotent_sqlx::{outbox::OutboxError, sqlx};

/// One line. URLs are told without what is secret in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot open the database at {place}: {why}; name another one with --database")]
    Database { place: String, why: String },
    #[error("cannot use the broker at {place}: {why}; start it, or name another one with --broker")]
    Broker { place: String, why: String },
    #[error("{0} alone needs a broker outside of this process: --broker nats://127.0.0.1:4222")]
    NoBroker(&'static str),
    #[error("the database does not answer: {}", Chain(.0))]
    Asked(#[from] sqlx::Error),
    #[error("{}", Chain(.0))]
    Store(#[from] StoreError),
    #[error("{}", Chain(.0))]
    Outbox(#[from] OutboxError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StartError {
    pub(crate) fn database(url: &str, error: &dyn Error) -> Self {
        Self::Database { place: place(url), why: Chain(error).to_string() }
    }

    pub(crate) fn broker(url: &str, error: &dyn Error) -> Self {
        Self::Broker { place: place(url), why: Chain(error).to_string() }
    }
}

/// A URL without scheme, user, password and parameters, in which a password may stand, too.
fn place(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let place = url.split_once(':').map_or(url, |(_, place)| place);
    place.rsplit_once('@').map_or(place, |(_, place)| place).trim_start_matches("//").to_owned()
}

/// An error and its causes, as far as they say something new.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        write!(f, "{told}")?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}
