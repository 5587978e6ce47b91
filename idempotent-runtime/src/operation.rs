//! Operations: which handler a key belongs to.

use std::{fmt, sync::Arc};

/// The name of an operation: what `operation = "…"` says, else method and route template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Named(&'static str),
    Route(Arc<str>),
}

impl Operation {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Route(route) => route,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
