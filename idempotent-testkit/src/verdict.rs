//! What a check comes to.

use std::{
    fmt::{self, Display},
    panic::Location,
};

use idempotent_runtime::StoreError;

/// `Ok`, or why a check stopped.
pub(crate) type Verdict<T = ()> = Result<T, Stop>;

/// Why a check stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The store breaks the contract.
    Violation(String),
    /// The machine was too slow for what had to be seen within a deadline: to be repeated.
    TooSlow,
    /// The backend cannot be asked for this.
    Skipped(&'static str),
}

impl Stop {
    /// A violation, and where the suite found it.
    #[track_caller]
    pub(crate) fn violation(what: impl Display) -> Self {
        Self::at(Location::caller(), what)
    }

    pub(crate) fn at(place: &Location<'_>, what: impl Display) -> Self {
        let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
        Self::Violation(format!("{what} [{file}:{}]", place.line()))
    }
}

impl From<StoreError> for Stop {
    #[track_caller]
    fn from(error: StoreError) -> Self {
        Self::violation(Described(&error))
    }
}

/// An error with its sources.
pub(crate) struct Described<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered an error: {}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Stops a check with a violation unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::verdict::Stop::violation(format_args!($($what)+)));
        }
    };
}

/// Stops a check with a violation unless an answer is as expected.
macro_rules! answered {
    ($answer:expr, $pattern:pat $(if $guard:expr)? => $found:expr, $what:literal $(, $arg:expr)* $(,)?) => {
        match $answer {
            $pattern $(if $guard)? => $found,
            other => {
                return Err($crate::verdict::Stop::violation(format_args!(
                    "expected {}, the store answered {other:?}", format_args!($what $(, $arg)*)
                )));
            }
        }
    };
}

pub(crate) use {answered, ensure};
