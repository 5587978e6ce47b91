//! Databases for the outbox, and a broker that fails on command.

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    process,
    str::FromStr as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use idempotent_servers::{Database, PostgresServer};
use idempotent_sqlx::{
    outbox::{
        Message, Outbox, OutboxDatabase, OutboxMessage, OutboxStatus, PublishError, Publisher,
        Relay, RelayBuilder,
    },
    sqlx::{
        Pool, Postgres, Sqlite,
        postgres::PgPoolOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
    },
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Nothing here takes as long on a machine that works.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// An outbox of the test's own.
pub(crate) struct Kit<DB: OutboxDatabase> {
    pub(crate) pool: Pool<DB>,
    pub(crate) outbox: Outbox<DB>,
    pub(crate) url: String,
    pub(crate) table: &'static str,
    _home: Home,
}

enum Home {
    Database(#[allow(dead_code)] Database),
    File(PathBuf),
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Self::File(path) = self {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// `None` where there is no server.
pub(crate) async fn postgres() -> Option<Kit<Postgres>> {
    Some(on(PostgresServer::shared()?.database()).await)
}

/// On a server of the test's own.
pub(crate) async fn on(database: Database) -> Kit<Postgres> {
    let pool = PgPoolOptions::new().max_connections(8).connect(database.url()).await.unwrap();
    let outbox = Outbox::postgres(pool.clone());
    outbox.migrate().await.unwrap();
    let url = database.url().to_owned();
    let table = "idempotent.outbox";
    Kit { pool, outbox, url, table, _home: Home::Database(database) }
}

pub(crate) fn sqlite_directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("idempotent-outbox-{}-{next}", process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

pub(crate) async fn sqlite() -> Option<Kit<Sqlite>> {
    let directory = sqlite_directory();
    let url = format!("sqlite:{}", directory.join("outbox.db").display());
    let options = SqliteConnectOptions::from_str(&url).unwrap();
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let outbox = Outbox::sqlite(pool.clone());
    outbox.migrate().await.unwrap();
    let table = "idempotent_outbox";
    Some(Kit { pool, outbox, url, table, _home: Home::File(directory) })
}

/// Runs a test on both databases.
macro_rules! both {
    ($($name:ident)*) => {
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let Some(kit) = crate::kit::postgres().await else { return };
                    super::$name(kit).await;
                }
            )*
        }
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let Some(kit) = crate::kit::sqlite().await else { return };
                    super::$name(kit).await;
                }
            )*
        }
    };
}
pub(crate) use both;

impl<DB: OutboxDatabase> Kit<DB> {
    /// In a transaction of its own.
    pub(crate) async fn enqueue(&self, message: Message) {
        self.enqueue_all([message]).await;
    }

    /// In one transaction.
    pub(crate) async fn enqueue_all(&self, messages: impl IntoIterator<Item = Message>) {
        let mut transaction = self.pool.begin().await.unwrap();
        for message in messages {
            self.outbox.enqueue(&mut transaction, message).await.unwrap();
        }
        transaction.commit().await.unwrap();
        self.outbox.wake();
    }

    /// Waits until the outbox looks like this.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&OutboxStatus) -> bool) {
        let deadline = Instant::now() + LONG;
        loop {
            let status = self.outbox.status().await.unwrap();
            if is(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {status:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A relay that loses no time.
    pub(crate) fn relay(&self, broker: &Broker) -> RelayBuilder<DB> {
        self.outbox
            .relay_builder(broker.clone())
            .poll_interval(Duration::from_millis(10))
            .backoff(Duration::from_millis(10), Duration::from_millis(40))
    }
}

/// A relay that runs.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<DB: OutboxDatabase>(relay: Relay<DB>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        Self { stop, task: tokio::spawn(relay.run(shutdown)) }
    }

    /// Orderly.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(LONG, self.task).await.expect("a relay that stops").unwrap();
    }

    /// In the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What the broker does with a message.
pub(crate) enum Verdict {
    Take,
    /// In its own time.
    TakeSlowly(Duration),
    Refuse(PublishError),
    /// Takes it and never says so.
    TakeSilently,
    /// Neither takes it nor answers.
    Hang,
    Panic,
}

type Rule = dyn Fn(&OutboxMessage) -> Verdict + Send + Sync;

/// A broker that remembers what it took, in its order.
#[derive(Clone)]
pub(crate) struct Broker(Arc<Inner>);

struct Inner {
    rule: Mutex<Box<Rule>>,
    taken: Mutex<Vec<(String, String, Instant)>>,
    asked: Mutex<Vec<(String, Instant)>>,
    changed: Notify,
}

impl Broker {
    pub(crate) fn new(rule: impl Fn(&OutboxMessage) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            rule: Mutex::new(Box::new(rule)),
            taken: Mutex::default(),
            asked: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// One that takes everything.
    pub(crate) fn willing() -> Self {
        Self::new(|_| Verdict::Take)
    }

    pub(crate) fn becomes(&self, rule: impl Fn(&OutboxMessage) -> Verdict + Send + Sync + 'static) {
        *self.0.rule.lock().unwrap() = Box::new(rule);
    }

    /// Ids, in the order they were taken.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.0.taken.lock().unwrap().iter().map(|(_, id, _)| id.clone()).collect()
    }

    /// When it was asked to take this one.
    pub(crate) fn asked(&self, id: &str) -> Vec<Instant> {
        let asked = self.0.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == id).map(|(_, at)| *at).collect()
    }

    /// The ids of each partition in the order they were first taken.
    pub(crate) fn first_taken(&self) -> HashMap<String, Vec<String>> {
        let mut partitions = HashMap::<String, Vec<String>>::new();
        for (partition, id, _) in &*self.0.taken.lock().unwrap() {
            let ids = partitions.entry(partition.clone()).or_default();
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        partitions
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.0.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is(self) {
                    return;
                }
                changed.await;
            }
        };
        assert!(timeout(LONG, wait).await.is_ok(), "{what} did not come: {:?}", self.taken());
    }

    pub(crate) async fn until_taken(&self, count: usize) {
        self.until(&format!("{count} messages"), |broker| broker.taken().len() >= count).await;
    }

    fn take(&self, message: &OutboxMessage) {
        let taken = (message.partition().to_owned(), message.id().to_owned(), Instant::now());
        self.0.taken.lock().unwrap().push(taken);
        self.0.changed.notify_waiters();
    }
}

impl Publisher for Broker {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        self.0.asked.lock().unwrap().push((message.id().to_owned(), Instant::now()));
        self.0.changed.notify_waiters();
        // Gives the others their turn, as a network would.
        tokio::task::yield_now().await;
        let verdict = self.0.rule.lock().unwrap()(message);
        match verdict {
            Verdict::Take => {
                self.take(message);
                Ok(())
            }
            Verdict::TakeSlowly(time) => {
                sleep(time).await;
                self.take(message);
                Ok(())
            }
            Verdict::Refuse(error) => Err(error),
            Verdict::TakeSilently => {
                self.take(message);
                std::future::pending().await
            }
            Verdict::Hang => std::future::pending().await,
            Verdict::Panic => panic!("the publisher breaks"),
        }
    }
}

/// A message of a partition whose id is its payload.
pub(crate) fn message(partition: &str, number: usize) -> Message {
    let id = format!("{partition}/{number}");
    Message::new(id.clone(), "events", id).partition(partition)
}

/// Ids of a partition, in their order.
pub(crate) fn ids(partition: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{partition}/{number}")).collect()
}
