//! Why the service did not start, and what to do.

use std::{error::Error, fmt, io};

/// One line. URLs are told without what is secret in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot reach {what} at {place}: {why}; start it, or name another one with {option}")]
    Server { what: &'static str, place: String, why: String, option: &'static str },
    #[error("cannot open {place}: {why}; name a file that can be written with --database")]
    Sqlite { place: String, why: String },
    #[error("{0}")]
    Settings(#[from] idempotent_runtime::SettingsError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StartError {
    pub(crate) fn postgres(url: &str, error: &dyn Error) -> Self {
        let (place, why) = (place(url), Chain(error).to_string());
        Self::Server { what: "PostgreSQL", place, why, option: "--database" }
    }

    pub(crate) fn redis(url: &str, error: &dyn Error) -> Self {
        let (place, why) = (place(url), Chain(error).to_string());
        Self::Server { what: "Redis", place, why, option: "--store" }
    }

    pub(crate) fn sqlite(url: &str, error: &dyn Error) -> Self {
        Self::Sqlite { place: place(url), why: Chain(error).to_string() }
    }
}

/// A URL without scheme, user, password and parameters, in which a password may stand, too.
fn place(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let place = url.split_once(':').map_or(url, |(_, place)| place);
    place.rsplit_once('@').map_or(place, |(_, place)| place).trim_start_matches("//").to_owned()
}

/// An error and its causes, as far as they say something new.
struct Chain<'a>(&'a dyn Error);

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
