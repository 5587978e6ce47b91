//! Locks that a panic elsewhere does not poison, because every critical section leaves its data whole;
//! and into how many parts what threads share is split.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Into how many parts a map is split that all threads share: eight for each thread that runs at a
/// time, so that they seldom meet, and no more, because what is written to in each part (its lock, the
/// end of its queue) then stays in the caches of the processor. A power of two.
pub(crate) fn shards() -> usize {
    let threads = available_parallelism().map_or(1, usize::from);
    (8 * threads).next_power_of_two().clamp(16, 128)
}
