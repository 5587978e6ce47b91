//! The stores, each with a place of its own for one test.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

use idempotent_redis::RedisStore;
use idempotent_runtime::Store;
use idempotent_servers::{Database, PostgresServer, Proxy, RedisServer};
use idempotent_sqlx::{PostgresStore, SqliteStore};

/// Runs generic tests over stores: `over!(Redis, Postgres, Sqlite: one_test, another_test)`.
macro_rules! over {
    ($($backend:ident),+: $($test:ident),+ $(,)?) => { over!(@ [$($backend),+] $($test)+); };
    (@ $backends:tt $($test:ident)+) => { $(over!(@one $backends $test);)+ };
    (@one [$($backend:ident),+] $test:ident) => {
        #[allow(non_snake_case)]
        mod $test {
            use crate::backend::{Backend as _, $($backend),+};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $backend() {
                    if let Some(backend) = $backend::shared() {
                        crate::support::in_time(super::$test(backend)).await;
                    }
                }
            )+
        }
    };
}

/// Where the processes of one test meet.
pub(crate) trait Backend: Sized + Send + Sync + 'static {
    type Store: Store + Clone;

    /// A place on the server that the tests share; `None` where there is none.
    fn shared() -> Option<Self>;

    /// Where it is.
    fn url(&self) -> String;

    /// What another process makes the same of; see `at`.
    fn place(&self) -> String;

    /// The connections of one process.
    async fn connect(&self) -> Self::Store {
        self.connect_to(&self.url()).await
    }

    /// The connections of one process, by another way.
    async fn connect_to(&self, url: &str) -> Self::Store;
}

/// A backend behind a socket.
pub(crate) trait Remote: Backend {
    /// A proxy before the server.
    fn proxy(&self) -> Proxy {
        Proxy::new(address(&self.url()))
    }

    /// The connections of one process, through a proxy.
    async fn connect_through(&self, proxy: &Proxy) -> Self::Store {
        self.connect_to(&proxy.url(&self.url())).await
    }
}

/// `host:port` of a URL that says both.
pub(crate) fn address(url: &str) -> String {
    let host = &url[url.find("://").unwrap() + 3..];
    let host = &host[..host.find(['/', '?']).unwrap_or(host.len())];
    host[host.rfind('@').map_or(0, |at| at + 1)..].to_owned()
}

fn unique() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A prefix on a Redis server.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    url: String,
    prefix: String,
}

impl Redis {
    pub(crate) fn on(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: format!("test-{}:", unique()) }
    }

    /// The place that another process speaks of.
    pub(crate) fn at(place: &str) -> Option<Self> {
        let (url, prefix) = place.strip_prefix("redis ")?.split_once(' ')?;
        Some(Self { url: url.to_owned(), prefix: prefix.to_owned() })
    }
}

impl Backend for Redis {
    type Store = RedisStore;

    fn shared() -> Option<Self> {
        RedisServer::shared().map(Self::on)
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn place(&self) -> String {
        format!("redis {} {}", self.url, self.prefix)
    }

    async fn connect_to(&self, url: &str) -> RedisStore {
        RedisStore::builder().prefix(&self.prefix).connect(url).await.unwrap()
    }
}

impl Remote for Redis {}

/// A database of a PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Postgres {
    url: String,
    /// Goes with this, where it was made for it.
    database: Option<Database>,
}

impl Postgres {
    pub(crate) fn in_database(database: Database) -> Self {
        Self { url: database.url().to_owned(), database: Some(database) }
    }

    pub(crate) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// The place that another process speaks of.
    pub(crate) fn at(place: &str) -> Option<Self> {
        Some(Self { url: place.strip_prefix("postgres ")?.to_owned(), database: None })
    }
}

impl Backend for Postgres {
    type Store = PostgresStore;

    fn shared() -> Option<Self> {
        PostgresServer::shared().map(|server| Self::in_database(server.database()))
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn place(&self) -> String {
        format!("postgres {}", self.url)
    }

    async fn connect_to(&self, url: &str) -> PostgresStore {
        let store = PostgresStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }
}

impl Remote for Postgres {}

/// A file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    directory: PathBuf,
    is_mine: bool,
}

impl Sqlite {
    /// The place that another process speaks of.
    pub(crate) fn at(place: &str) -> Option<Self> {
        Some(Self { directory: place.strip_prefix("sqlite ")?.into(), is_mine: false })
    }
}

impl Backend for Sqlite {
    type Store = SqliteStore;

    fn shared() -> Option<Self> {
        let directory = env::temp_dir().join(format!("idempotent-stores-{}", unique()));
        fs::create_dir(&directory).unwrap();
        Some(Self { directory, is_mine: true })
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.directory.join("records.db").display())
    }

    fn place(&self) -> String {
        format!("sqlite {}", self.directory.display())
    }

    async fn connect_to(&self, url: &str) -> SqliteStore {
        let store = SqliteStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.is_mine {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
