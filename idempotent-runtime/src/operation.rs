//! Operations: which handler a key belongs to.

use std::{cell::RefCell, fmt, sync::Arc};

use http::Method;

use crate::{key_part::KeyEncoder, recent::Recent};

/// The name of an operation: what `operation = "…"` says, else method and route template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation<T = Arc<str>> {
    Named(&'static str),
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    Route {
        method: Method,
        template: T,
    },
}

impl Operation<&str> {
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn into_owned(self) -> Operation {
        match self {
            Self::Named(name) => Operation::Named(name),
            Self::Route { method, template } => {
                Operation::Route { method, template: kept_once(template) }
            }
        }
    }
}

/// A thread serves few routes: their templates are not copied for each request.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
fn kept_once(template: &str) -> Arc<str> {
    thread_local! {
        static SEEN: RefCell<Recent<str>> = const { RefCell::new(Recent::new()) };
    }
    Recent::find(&SEEN, |seen| seen == template).unwrap_or_else(|| {
        let template = Arc::from(template);
        Recent::remember(&SEEN, &template);
        template
    })
}

impl<T: AsRef<str>> Operation<T> {
    /// Writes the name as [`StorageKey::derive`](crate::StorageKey::derive) takes it.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn encode(&self, encoder: &mut KeyEncoder) {
        match self {
            Self::Named(name) => encoder.text(name),
            Self::Route { method, template } => {
                encoder.joined([method.as_str(), " ", template.as_ref()]);
            }
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Route { method, template } => {
                write!(f, "{method} {}", template.as_ref())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_and_its_name_are_one_operation() {
        let route = Operation::Route { method: Method::POST, template: "/payments/{id}" };
        let encoded = |write: &dyn Fn(&mut KeyEncoder)| {
            let mut encoder = KeyEncoder::new(b'K');
            write(&mut encoder);
            encoder.digest(None, &[])
        };
        let name = route.to_string();
        assert_eq!(name, "POST /payments/{id}");
        assert_eq!(encoded(&|e| route.encode(e)), encoded(&|e| e.text(&name)));
    }

    /// However many routes a thread serves, each is told by its own name.
    #[test]
    fn a_template_that_is_kept_is_that_of_its_own_route() {
        let route = |template| Operation::Route { method: Method::POST, template };
        for _ in 0..2 {
            for template in ["/a", "/b", "/c", "/d", "/e", "/f"] {
                assert_eq!(route(template).into_owned().to_string(), format!("POST {template}"));
            }
            let Operation::Route { template: one, .. } = route("/a").into_owned() else { panic!() };
            let Operation::Route { template: two, .. } = route("/a").into_owned() else { panic!() };
            assert!(Arc::ptr_eq(&one, &two));
        }
    }
}
