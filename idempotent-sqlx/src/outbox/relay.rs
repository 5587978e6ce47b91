//! The relay: publishes what was committed.

mod publish;
mod report;
mod run;
mod settings;

use std::{fmt, future::Future, sync::Arc};

use self::settings::Settings;
pub use self::settings::{OnDead, RelayBuilder};
use super::{Outbox, OutboxDatabase, OutboxError, OutboxStatus, publisher::ErasedPublisher};

/// Publishes the messages of an [`Outbox`].
///
/// Run one in every process, or in some: they share the work. See the [module](super) for what they
/// promise together.
///
/// ```no_run
/// # use idempotent_sqlx::{outbox::{Outbox, Publisher}, sqlx::Postgres};
/// # async fn example(outbox: Outbox<Postgres>, publisher: impl Publisher) {
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let relay = tokio::spawn(outbox.relay(publisher).run(async {
///     let _ = stopped.await;
/// }));
/// // …
/// let _ = stop.send(());
/// let _ = relay.await;
/// # }
/// ```
pub struct Relay<DB: OutboxDatabase> {
    outbox: Outbox<DB>,
    publisher: Arc<dyn ErasedPublisher>,
    settings: Settings,
    /// Who holds a slot, for people who look at the table.
    name: String,
}

impl<DB: OutboxDatabase> Relay<DB> {
    fn new(outbox: Outbox<DB>, publisher: Arc<dyn ErasedPublisher>, settings: Settings) -> Self {
        let name = format!("{}-{:08x}", std::process::id(), rand::random::<u32>());
        Self { outbox, publisher, settings, name }
    }

    /// Publishes until `shutdown` resolves; then ends what it has begun, marks it, gives its slots
    /// back and returns. That takes `publish_timeout` at the most, and where the database gives no answer
    /// a few `database_timeout`s more.
    ///
    /// A database or broker that is away is waited for. Dropping the future instead ends all
    /// publications at once; what they had reached the broker with is published again, by whoever
    /// leases their slots when `lease` is over.
    // Declared as `Send`: where it is spawned, the compiler cannot find out by itself.
    #[allow(clippy::manual_async_fn)]
    pub fn run(self, shutdown: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        async move { run::run(&self, shutdown).await }
    }

    /// What waits in the outbox.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Database`]
    pub async fn lag(&self) -> Result<OutboxStatus, OutboxError> {
        self.outbox.status().await
    }
}

impl<DB: OutboxDatabase> fmt::Debug for Relay<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("outbox", &self.outbox)
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
