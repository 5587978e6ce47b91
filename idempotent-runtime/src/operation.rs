//! Operations: which handler a key belongs to.

use std::{
    cell::RefCell,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use crate::recent::Recent;

/// The name of an operation: what `operation = "…"` says, else method and route template, such as
/// `POST /payments/{id}/refund`; of a function its module and name. Cloning it is cheap.
#[derive(Clone)]
pub struct OperationName(Name);

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl OperationName {
    /// A name that is known at compile time.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Name::Static(name))
    }

    /// The name of a route. A thread serves few: their names are not put together for each request.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn of_route(method: &str, template: &str) -> Self {
        thread_local! {
            static SEEN: RefCell<Recent<str>> = const { RefCell::new(Recent::new()) };
        }
        let is_it = |seen: &str| {
            let rest = seen.strip_prefix(method).and_then(|rest| rest.strip_prefix(' '));
            rest == Some(template)
        };
        Self(Name::Shared(Recent::find(&SEEN, is_it).unwrap_or_else(|| {
            let name = Arc::from(format!("{method} {template}"));
            Recent::remember(&SEEN, &name);
            name
        })))
    }

    /// How many bytes it may hold alone, beside itself.
    pub(crate) fn own_bytes(&self) -> usize {
        match &self.0 {
            Name::Static(_) => 0,
            // The two counts of an `Arc`.
            Name::Shared(name) => 16 + name.len(),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

impl Default for OperationName {
    /// The empty name.
    fn default() -> Self {
        Self::from_static("")
    }
}

impl From<&str> for OperationName {
    fn from(name: &str) -> Self {
        Self(Name::Shared(name.into()))
    }
}

impl From<String> for OperationName {
    fn from(name: String) -> Self {
        Self(Name::Shared(name.into()))
    }
}

impl Deref for OperationName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for OperationName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for OperationName {}

impl Hash for OperationName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationName({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_text_however_it_was_made() {
        let route = OperationName::of_route("POST", "/payments/{id}");
        assert_eq!(&*route, "POST /payments/{id}");
        assert_eq!(route, OperationName::from_static("POST /payments/{id}"));
        assert_eq!(route, OperationName::from("POST /payments/{id}"));
        assert_ne!(route, OperationName::of_route("PUT", "/payments/{id}"));
    }

    /// However many routes a thread serves, each is told by its own name.
    #[test]
    fn a_name_that_is_kept_is_that_of_its_own_route() {
        for _ in 0..2 {
            for template in ["/a", "/b", "/c", "/d", "/e", "/f", "/a b", ""] {
                for method in ["POST", "PUT", "POS", ""] {
                    let name = OperationName::of_route(method, template);
                    assert_eq!(&*name, format!("{method} {template}"));
                }
            }
            let share = |one: OperationName, two: OperationName| match (one.0, two.0) {
                (Name::Shared(one), Name::Shared(two)) => Arc::ptr_eq(&one, &two),
                _ => false,
            };
            let name = || OperationName::of_route("POST", "/a");
            assert!(share(name(), name()));
        }
    }
}
