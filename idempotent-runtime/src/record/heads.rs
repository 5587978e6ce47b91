//! The heads of answers that records share.

use std::{cell::RefCell, sync::Arc};

use http::HeaderValue;

use super::Metadata;
use crate::recent::Recent;

thread_local! {
    static SEEN: RefCell<Recent<Metadata>> = const { RefCell::new(Recent::new()) };
}

/// The head, of those that are kept once and that this thread saw last.
pub(super) fn seen(is_it: impl Fn(&Metadata) -> bool) -> Option<Arc<Metadata>> {
    Recent::find(&SEEN, is_it)
}

pub(super) fn remember(head: &Arc<Metadata>) {
    Recent::remember(&SEEN, head);
}

/// A value that is no part of a larger buffer, which would live as long; those that nearly all
/// answers have count no references, which all threads would share.
pub(super) fn standalone(value: &HeaderValue) -> HeaderValue {
    const COMMON: [&str; 5] = [
        "application/json",
        "application/problem+json",
        "text/plain; charset=utf-8",
        "text/html; charset=utf-8",
        "application/octet-stream",
    ];
    let common = COMMON.into_iter().find(|common| value == common).map(HeaderValue::from_static);
    // The bytes of a value are one.
    let own = common.or_else(|| HeaderValue::from_bytes(value.as_bytes()).ok());
    let mut own = own.unwrap_or_else(|| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}
