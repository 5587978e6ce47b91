//! Runs one check, in a thread and a runtime of its own.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    harness::{Clock, Harness},
    list::{self, Check},
    verdict::Stop,
    world::World,
};

/// A check that has not ended by then hangs.
const LIMIT: Duration = Duration::from_mins(3);
/// How often a check is repeated, with longer spans each time, on a machine that is too slow for it.
const ROUNDS: u32 = 7;

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store keeps this part of the contract.
    Passed,
    /// The backend could not be asked; why.
    Skipped(String),
    /// The store breaks the contract; how.
    Failed(String),
}

/// A harness, or none where its backend is not to be had: all checks are skipped then.
///
/// Lets [`conformance!`](crate::conformance) take both a harness and an `Option` of one.
pub trait Available: Send + 'static {
    /// What there may be.
    type Harness: Harness;

    /// The harness, if there is one.
    fn available(self) -> Option<Self::Harness>;
}

impl<H: Harness> Available for H {
    type Harness = H;

    fn available(self) -> Option<H> {
        Some(self)
    }
}

impl<H: Harness> Available for Option<H> {
    type Harness = H;

    fn available(self) -> Option<H> {
        self
    }
}

/// Runs one check, in a thread and a runtime of its own, and waits for it.
///
/// [`verify`](crate::verify) runs all of them.
pub fn check_blocking<F, A>(check: Check, make: F) -> Outcome
where
    F: FnOnce() -> A + Send + 'static,
    A: Future<Output: Available>,
{
    let (done, outcome) = sync_channel(1);
    let body = move || {
        let caught = catch_unwind(AssertUnwindSafe(|| in_runtime(check, make)));
        let outcome = caught.unwrap_or_else(|panic| Outcome::Failed(said(&*panic)));
        // Nobody listens after the limit.
        let _ = done.send(outcome);
    };
    if let Err(error) = thread::Builder::new().name(check.name.into()).spawn(body) {
        return Outcome::Failed(format!("no thread for the check: {error}"));
    }
    match outcome.recv_timeout(LIMIT) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            Outcome::Failed(format!("the check did not end within {LIMIT:?}: the store hangs"))
        }
        Err(RecvTimeoutError::Disconnected) => Outcome::Failed("the check was lost".into()),
    }
}

fn in_runtime<F, A>(check: Check, make: F) -> Outcome
where
    F: FnOnce() -> A,
    A: Future<Output: Available>,
{
    match runtime::<<A::Output as Available>::Harness>(check) {
        Ok(runtime) => {
            let outcome = runtime.block_on(async {
                match make().await.available() {
                    Some(harness) => judge(check, harness).await,
                    None => Outcome::Skipped("there is no such backend here".into()),
                }
            });
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Outcome::Failed(format!("no runtime for the check: {error}")),
    }
}

fn runtime<H: Harness>(check: Check) -> std::io::Result<Runtime> {
    if check.needs_threads() {
        return Builder::new_multi_thread().worker_threads(4).enable_all().build();
    }
    Builder::new_current_thread().enable_all().start_paused(H::CLOCK == Clock::Paused).build()
}

async fn judge<H: Harness>(check: Check, harness: H) -> Outcome {
    let mut world = World::new(harness).await;
    for _ in 0..ROUNDS {
        match list::call(check, &world).await {
            Ok(()) => return Outcome::Passed,
            Err(Stop::Violation(what)) => return Outcome::Failed(what),
            Err(Stop::Skipped(why)) => return Outcome::Skipped(why.into()),
            Err(Stop::TooSlow) => world.slow_down(),
        }
    }
    Outcome::Failed("the store was too slow to be judged: it took seconds for a call".into())
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a text"))
}

/// One test that [`conformance!`](crate::conformance) writes.
///
/// # Panics
///
/// When the store breaks the contract.
#[doc(hidden)]
pub fn test<F, A>(name: &str, make: F)
where
    F: FnOnce() -> A + Send + 'static,
    A: Future<Output: Available>,
{
    let Some(check) = Check::named(name) else { panic!("there is no check `{name}`") };
    match check_blocking(check, make) {
        Outcome::Passed => {}
        Outcome::Skipped(why) => println!("skipped: {why}"),
        Outcome::Failed(what) => panic!("{name}: {what}"),
    }
}
