//! The heads of answers that records share.

use std::{cell::RefCell, sync::Arc};

use http::HeaderValue;

use super::Metadata;

/// The heads that a thread saw last, of those that are kept once.
pub(super) struct Seen {
    heads: [Option<Arc<Metadata>>; 4],
    next: usize,
}

thread_local! {
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen { heads: [const { None }; 4], next: 0 }) };
}

/// At the end of its thread, when nothing is remembered any more, finds nothing.
impl Seen {
    pub(super) fn find(is_it: impl Fn(&Metadata) -> bool) -> Option<Arc<Metadata>> {
        let found = SEEN.try_with(|seen| {
            let seen = seen.borrow();
            seen.heads.iter().flatten().find(|head| is_it(head)).cloned()
        });
        found.ok().flatten()
    }

    pub(super) fn remember(head: &Arc<Metadata>) {
        // What it displaces may be dropped with it: outside of the borrow.
        let _displaced = SEEN.try_with(|seen| {
            let Self { heads, next } = &mut *seen.borrow_mut();
            let displaced = heads[*next].replace(Arc::clone(head));
            *next = (*next + 1) % heads.len();
            displaced
        });
    }
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
    common.or_else(|| HeaderValue::from_bytes(value.as_bytes()).ok()).unwrap_or(value.clone())
}
