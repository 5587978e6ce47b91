//! Operations: which handler a key belongs to.

use std::{fmt, sync::Arc};

use http::Method;

use crate::key::KeyEncoder;

/// The name of an operation: what `operation = "…"` says, else method and route template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Named(&'static str),
    Route { method: Method, template: Arc<str> },
}

impl Operation {
    /// Writes the name as [`StorageKey::derive`](crate::StorageKey::derive) takes it.
    pub(crate) fn encode(&self, encoder: &mut KeyEncoder) {
        match self {
            Self::Named(name) => encoder.text(name),
            Self::Route { method, template } => encoder.joined([method.as_str(), " ", template]),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Route { method, template } => write!(f, "{method} {template}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_and_its_name_are_one_operation() {
        let route =
            Operation::Route { method: Method::POST, template: Arc::from("/payments/{id}") };
        let encoded = |write: &dyn Fn(&mut KeyEncoder)| {
            let mut encoder = KeyEncoder::new(b'K');
            write(&mut encoder);
            encoder.digest(None, &[])
        };
        let name = route.to_string();
        assert_eq!(name, "POST /payments/{id}");
        assert_eq!(encoded(&|e| route.encode(e)), encoded(&|e| e.text(&name)));
    }
}
