//! The body of a caller's task, kept on the heap.

use std::{future::Future, pin::Pin};

/// Makes a future where it is kept. A function of its own, so that the stack which that takes is free
/// again when the future is polled.
#[inline(never)]
pub(crate) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}
