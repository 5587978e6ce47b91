//! Values that a thread made lately and that are likely to be made again: kept once, and shared.

use std::{cell::RefCell, sync::Arc, thread::LocalKey};

/// The last few. At the end of its thread, when nothing is remembered any more, finds nothing.
pub(crate) struct Recent<T: ?Sized> {
    values: [Option<Arc<T>>; 4],
    next: usize,
}

impl<T: ?Sized> Recent<T> {
    pub(crate) const fn new() -> Self {
        Self { values: [const { None }; 4], next: 0 }
    }

    pub(crate) fn find(
        recent: &'static LocalKey<RefCell<Self>>,
        is_it: impl Fn(&T) -> bool,
    ) -> Option<Arc<T>> {
        let found = recent.try_with(|recent| {
            let recent = recent.borrow();
            recent.values.iter().flatten().find(|value| is_it(value)).cloned()
        });
        found.ok().flatten()
    }

    pub(crate) fn remember(recent: &'static LocalKey<RefCell<Self>>, value: &Arc<T>) {
        // What it displaces may be dropped with it: outside of the borrow.
        let _displaced = recent.try_with(|recent| {
            let Self { values, next } = &mut *recent.borrow_mut();
            let displaced = values[*next].replace(Arc::clone(value));
            *next = (*next + 1) % values.len();
            displaced
        });
    }
}
