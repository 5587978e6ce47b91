//! What the body of a guarded function can ask about its own execution.

use std::{
    fmt,
    marker::PhantomData,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::attempt::{Attempt, AttemptSlot};

/// The execution that a guarded function is in: what `attempt = name` binds.
///
/// It is an [`Attempt`], and knows the type of the value that will be recorded.
///
/// ```
/// # #[cfg(feature = "macros")] mod example {
/// use idempotent_runtime::{Idempotency, idempotent_fn};
///
/// #[idempotent_fn(key = order, runtime = idempotency, attempt = attempt)]
/// async fn ship(idempotency: &Idempotency, order: u64) -> Result<String, idempotent_runtime::Error> {
///     // Stable across attempts: the carrier deduplicates by it.
///     let downstream = attempt.downstream_key("carrier");
///     Ok(format!("attempt {} ships {order} with {downstream}", attempt.number()))
/// }
/// # }
/// ```
pub struct ValueAttempt<T> {
    attempt: Attempt,
    no_effect: Arc<AtomicBool>,
    value: PhantomData<fn(T) -> T>,
}

/// What a function that binds its attempt shares with the guard.
#[derive(Clone, Default)]
pub(super) struct Asked {
    pub(super) slot: AttemptSlot,
    no_effect: Arc<AtomicBool>,
}

impl Asked {
    pub(super) fn has_no_effect(&self) -> bool {
        self.no_effect.load(Ordering::Acquire)
    }
}

impl<T> ValueAttempt<T> {
    pub(super) fn new(asked: &Asked) -> Self {
        let attempt = Attempt::new(asked.slot.clone());
        Self { attempt, no_effect: Arc::clone(&asked.no_effect), value: PhantomData }
    }

    /// Says that an `Err` of this attempt means that nothing happened: under `on_abandoned = halt` the
    /// key is then released instead of waiting for somebody to decide. Without `halt` every `Err`
    /// releases.
    pub fn no_effect(&self) {
        self.no_effect.store(true, Ordering::Release);
    }
}

impl<T> Deref for ValueAttempt<T> {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl<T> Clone for ValueAttempt<T> {
    fn clone(&self) -> Self {
        let (attempt, no_effect) = (self.attempt.clone(), Arc::clone(&self.no_effect));
        Self { attempt, no_effect, value: PhantomData }
    }
}

impl<T> fmt::Debug for ValueAttempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueAttempt").field(&self.attempt).finish()
    }
}
