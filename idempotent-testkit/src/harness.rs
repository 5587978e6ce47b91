//! What the suite has to know of a store: how to get one, how its time passes, what it cannot do.

use std::{future::Future, time::Duration};

use idempotent_runtime::{StorageKey, Store};

/// One backend under test.
///
/// Each check gets a harness of its own, made by the expression that
/// [`conformance!`](crate::conformance) or [`verify`](crate::verify) was given. Harnesses may share a
/// backend, at once and again: the suite draws random keys.
///
/// ```
/// use idempotent_runtime::MemoryStore;
/// use idempotent_testkit::Harness;
///
/// struct Memory(MemoryStore);
///
/// impl Harness for Memory {
///     type Store = MemoryStore;
///
///     async fn store(&self) -> MemoryStore {
///         self.0.clone()
///     }
/// }
/// ```
pub trait Harness: Send + Sync + 'static {
    /// The store.
    type Store: Store;

    /// How time passes for the store. Under [`Clock::Real`] the suite waits some 20 seconds in all.
    const CLOCK: Clock = Clock::Real;

    /// Another handle on the same backend: a connection pool, a client. All handles of a harness
    /// see each other.
    fn store(&self) -> impl Future<Output = Self::Store> + Send;

    /// Lets this much time pass for the store.
    ///
    /// Sleeps under [`Clock::Real`] and moves tokio's clock under [`Clock::Paused`]. Under
    /// [`Clock::Manual`] it has to be written.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> + Send {
        async move {
            match Self::CLOCK {
                Clock::Paused => tokio::time::advance(by).await,
                Clock::Real | Clock::Manual => tokio::time::sleep(by).await,
            }
        }
    }

    /// Puts garbage into what the backend holds for `key`, past the store: an `UPDATE`, an `HSET`.
    /// Answers whether it could: a typed column takes no text, for one.
    ///
    /// Without this hook the checks of garbage are skipped.
    fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> impl Future<Output = bool> + Send {
        let _ = (key, garbage);
        async { false }
    }

    /// What the backend cannot do, and how hard the races are.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// How time passes for a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// By itself: a server's clock, or this machine's.
    Real,
    /// As tokio's clock, which stands still but for [`Harness::advance`]. The suite starts such checks
    /// in a runtime with paused time; races run on real threads in any case and let no time pass.
    Paused,
    /// Only by [`Harness::advance`], in some other way.
    Manual,
}

/// What [`Harness::corrupt`] puts into the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Garbage {
    /// The fingerprint is too short to be one.
    Fingerprint,
    /// Something of another kind altogether, or of another program, stands under the key.
    Foreign,
    /// The text of a record's metadata ends half-way.
    Metadata,
    /// A field without which nothing can be decided is gone, or is no number where it has to be one:
    /// the state, the token, the deadline.
    State,
}

impl Garbage {
    pub(crate) const ALL: [Self; 4] =
        [Self::Fingerprint, Self::Foreign, Self::Metadata, Self::State];
}

/// What a backend cannot do, and how hard the suite is on it.
///
/// | | default |
/// |---|---|
/// | [`isolated`](Self::isolated) | no: others use the backend meanwhile |
/// | [`precision`](Self::precision) | 50 ms |
/// | [`purges`](Self::purges) | yes |
/// | [`forgets_everywhere`](Self::forgets_everywhere) | yes |
/// | [`races`](Self::races) | 64 tasks × 1,000 keys |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Capabilities {
    pub(crate) isolated: bool,
    pub(crate) precision: Duration,
    pub(crate) purges: bool,
    pub(crate) forgets_everywhere: bool,
    pub(crate) tasks: usize,
    pub(crate) keys: usize,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            isolated: false,
            precision: Duration::from_millis(50),
            purges: true,
            forgets_everywhere: true,
            tasks: 64,
            keys: 1000,
        }
    }
}

impl Capabilities {
    /// Nobody but this one harness uses its backend (a schema, a prefix, a memory of its own), so that
    /// purged keys can be counted exactly.
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// By how much a deadline may come early or late. Zero is exact to the nanosecond, for a clock
    /// that stands still.
    pub fn precision(mut self, precision: Duration) -> Self {
        self.precision = precision;
        self
    }

    /// Off for a store that expires by itself: its `purge_expired` always answers 0.
    pub fn purges(mut self, purges: bool) -> Self {
        self.purges = purges;
        self
    }

    /// Off for a store with a cache in each process, where a forgotten record is replayed by other
    /// handles for a while.
    pub fn forgets_everywhere(mut self, everywhere: bool) -> Self {
        self.forgets_everywhere = everywhere;
        self
    }

    /// How many tasks race for how many keys: fewer for a slow backend. At least 2 of each.
    pub fn races(mut self, tasks: usize, keys: usize) -> Self {
        (self.tasks, self.keys) = (tasks.max(2), keys.max(2));
        self
    }
}
