//! Where payments and records are kept. What holds in one place holds in all of them.

use std::{
    any::Any,
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use idempotent_servers::{PostgresServer, RedisServer};

use crate::server::Server;

/// Writes every test once for each place: `replay::a_cookie_is_not_replayed::postgres`.
macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            use crate::place::{Place, at};

            #[tokio::test]
            async fn memory() {
                at(Place::Memory, super::$test).await;
            }

            #[tokio::test]
            async fn sqlite() {
                at(Place::Sqlite, super::$test).await;
            }

            #[tokio::test]
            async fn sqlite_redis() {
                at(Place::SqliteRedis, super::$test).await;
            }

            #[tokio::test]
            async fn postgres() {
                at(Place::Postgres, super::$test).await;
            }

            #[tokio::test]
            async fn postgres_redis() {
                at(Place::PostgresRedis, super::$test).await;
            }
        }
    )*};
}
pub(crate) use everywhere;

/// Runs `test` with a service of its own; not at all where there is no such server.
pub(crate) async fn at(place: Place, test: impl AsyncFnOnce(Server)) {
    if let Some(spot) = Spot::new(place) {
        test(spot.start(&[]).await).await;
    }
}

/// The places that several processes share.
macro_rules! wherever_there_are_several {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            use crate::place::{Place, Spot};

            async fn on(place: Place) {
                if let Some(spot) = Spot::new(place) {
                    super::$test(spot).await;
                }
            }

            #[tokio::test]
            async fn sqlite() {
                on(Place::Sqlite).await;
            }

            #[tokio::test]
            async fn sqlite_redis() {
                on(Place::SqliteRedis).await;
            }

            #[tokio::test]
            async fn postgres() {
                on(Place::Postgres).await;
            }

            #[tokio::test]
            async fn postgres_redis() {
                on(Place::PostgresRedis).await;
            }
        }
    )*};
}
pub(crate) use wherever_there_are_several;

/// A kind of place, by `--database` and `--store`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Memory,
    /// Payments and records in one file.
    Sqlite,
    SqliteRedis,
    /// Payments and records in one database.
    Postgres,
    PostgresRedis,
}

impl Place {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::Sqlite, Self::SqliteRedis, Self::Postgres, Self::PostgresRedis];
}

/// A fresh place of the test's own, for any number of processes.
pub(crate) struct Spot {
    options: Vec<String>,
    _kept: Option<Box<dyn Any>>,
}

impl Spot {
    /// `None` where a server is missing.
    pub(crate) fn new(place: Place) -> Option<Self> {
        let redis = matches!(place, Place::SqliteRedis | Place::PostgresRedis);
        let redis = if redis { Some(RedisServer::shared()?) } else { None };
        match place {
            Place::Memory => Some(Self { options: Vec::new(), _kept: None }),
            Place::Sqlite | Place::SqliteRedis => Some(Self::sqlite(redis)),
            Place::Postgres | Place::PostgresRedis => {
                let database = PostgresServer::shared()?.database();
                Some(Self::at(database.url(), redis).keep(database))
            }
        }
    }

    /// Payments at this URL; records there too, or else in a Redis.
    pub(crate) fn at(database: &str, redis: Option<&str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut options = vec!["--database".to_owned(), database.to_owned()];
        if let Some(url) = redis {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
            let prefix = format!("payments-{since}-{}:", NEXT.fetch_add(1, Ordering::Relaxed));
            options.extend(["--store".to_owned(), url.to_owned(), "--prefix".to_owned(), prefix]);
        }
        Self { options, _kept: None }
    }

    pub(crate) fn sqlite(redis: Option<&str>) -> Self {
        let directory = Directory::new();
        Self::at(&format!("sqlite:{}", directory.file("payments.db")), redis).keep(directory)
    }

    fn keep(self, until_dropped: impl Any) -> Self {
        Self { _kept: Some(Box::new(until_dropped)), ..self }
    }

    pub(crate) fn database(&self) -> &str {
        &self.options[1]
    }

    /// Starts one more process.
    pub(crate) async fn start(&self, options: &[&str]) -> Server {
        let own = self.options.iter().map(String::as_str);
        Server::start_with(&own.chain(options.iter().copied()).collect::<Vec<_>>()).await
    }
}

/// A directory that goes with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("payments-{}-{n}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Host and port of a URL.
pub(crate) fn address(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let place = rest.split(['/', '?']).next().unwrap();
    place.rsplit_once('@').map_or(place, |(_, place)| place)
}
