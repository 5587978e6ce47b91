//! All checks in one call, and what became of them.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::task::spawn_blocking;

use crate::{
    list::{CHECKS, Check},
    run::{Available, Outcome, check_blocking},
};

/// How many checks run at once. Most of their time is waiting for a clock.
const AT_ONCE: usize = 8;

/// Runs every check against the store and tells what became of each.
///
/// `make` makes a harness for each check, inside the check's own runtime. It may be called from any
/// runtime, or [`verify_blocking`] from none.
///
/// ```
/// # use idempotent_runtime::MemoryStore;
/// # use idempotent_testkit::{Capabilities, Clock, Harness};
/// # struct Memory(MemoryStore);
/// # impl Harness for Memory {
/// #     type Store = MemoryStore;
/// #     const CLOCK: Clock = Clock::Paused;
/// #     async fn store(&self) -> MemoryStore { self.0.clone() }
/// #     fn capabilities(&self) -> Capabilities { Capabilities::default().races(4, 20) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let report = idempotent_testkit::verify(|| async { Memory(MemoryStore::new()) }).await;
/// report.assert_passed();
/// # }
/// ```
pub async fn verify<F, A>(make: F) -> Report
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output: Available>,
{
    match spawn_blocking(move || verify_blocking(make)).await {
        Ok(report) => report,
        Err(error) => Report::lost(&error),
    }
}

/// [`verify`] outside of any runtime.
pub fn verify_blocking<F, A>(make: F) -> Report
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output: Available>,
{
    let make = Arc::new(make);
    let (next, results) = (Mutex::new(CHECKS.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(&check) = next else { break };
                    let make = Arc::clone(&make);
                    let outcome = check_blocking(check, move || make());
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((check, outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(check, _)| CHECKS.iter().position(|one| one == check));
    Report { results }
}

/// What became of each check.
#[derive(Clone, Debug)]
#[must_use]
pub struct Report {
    results: Vec<(Check, Outcome)>,
}

impl Report {
    fn lost(error: &dyn fmt::Display) -> Self {
        let lost = |check: &Check| (*check, Outcome::Failed(format!("not run: {error}")));
        Self { results: CHECKS.iter().map(lost).collect() }
    }

    /// Every check with what became of it, in the order of [`CHECKS`].
    pub fn results(&self) -> impl Iterator<Item = (Check, &Outcome)> {
        self.results.iter().map(|(check, outcome)| (*check, outcome))
    }

    /// The names of the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.named(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// The names of the checks that were skipped.
    pub fn skipped(&self) -> impl Iterator<Item = &'static str> {
        self.named(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    fn named(&self, which: impl Fn(&Outcome) -> bool) -> impl Iterator<Item = &'static str> {
        self.results().filter(move |(_, outcome)| which(outcome)).map(|(check, _)| check.name)
    }

    /// Nothing when the store keeps the contract.
    ///
    /// # Panics
    ///
    /// With the whole report when a check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed().next().is_none(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, skipped) = (self.failed().count(), self.skipped().count());
        let passed = self.results.len() - failed - skipped;
        writeln!(f, "store contract: {passed} passed, {failed} failed, {skipped} skipped")?;
        for (check, outcome) in self.results() {
            match outcome {
                Outcome::Passed => {}
                Outcome::Skipped(why) => writeln!(f, "  skipped {check}: {why}")?,
                Outcome::Failed(what) => writeln!(f, "  FAILED  {check}\n          {what}")?,
            }
        }
        Ok(())
    }
}
