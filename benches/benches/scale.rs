//! Whether `acquire` costs more the more keys there are: at a million stored keys against a thousand.
//!
//! | mode | a call |
//! |---|---|
//! | fresh | `acquire` of a new key; it is forgotten again, outside of the measurement |
//! | replay | `acquire` of any of the stored keys, which are all completed |
//! | a map's look-up | what a replay costs in a `HashMap` of this process, with nothing around it |
//!
//! The calls of a window are made one after the other, to the small store and to the large one in
//! turn; the figure is the median of the ratios of neighbours.
//! `cargo bench -p idempotent-benches --bench scale [-- [keys] [memory] [redis] [postgres] [sqlite]]`
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // a benchmark

#[path = "scale/fill.rs"]
mod fill;
mod measure;

use std::{
    collections::HashMap,
    env, fs,
    hint::black_box,
    time::{Duration, Instant},
};

use idempotent_redis::RedisStore;
use idempotent_runtime::{AcquireRequest, Acquired, LeaseId, MemoryStore, StorageKey, Store};
use idempotent_servers::{PostgresServer, RedisServer};
use idempotent_sqlx::{PostgresStore, SqliteStore};
use tokio::runtime::Builder;

use crate::{
    fill::{fingerprint, key},
    measure::Figures,
};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
const ROUNDS: usize = 61;
/// Calls of a window: a small part of the few keys, so that fresh ones do not make them many.
const CALLS: u64 = 64;
/// What a target is for the ratio.
const TARGET: f64 = 1.3;

/// What is asked for.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    /// Keys that the store does not have, instead of those that it has.
    fresh: bool,
    /// Out of so many keys, whatever the store holds; else new ones, or any that it holds.
    out_of: Option<u64>,
}

const MODES: [Mode; 4] = [
    Mode { name: "fresh", fresh: true, out_of: None },
    Mode { name: "replay", fresh: false, out_of: None },
    Mode { name: "fresh, the same keys", fresh: true, out_of: Some(FEW) },
    Mode { name: "replay, the same keys", fresh: false, out_of: Some(FEW) },
];

/// A store and how many keys it was filled with.
struct Filled<S> {
    store: S,
    keys: u64,
    /// How many keys it was asked for that it does not have.
    asked: u64,
    walk: Walk,
}

/// A walk over so many keys that is the same in each run and follows no order that the keys have.
struct Walk(u64);

impl Walk {
    fn next(&mut self, keys: u64) -> StorageKey {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        key((self.0 >> 33) % keys)
    }
}

impl<S: Store> Filled<S> {
    fn new(store: S, keys: u64) -> Self {
        Self { store, keys, asked: 0, walk: Walk(1) }
    }

    async fn acquire(&self, key: &StorageKey) -> Acquired {
        let (fingerprint, lease_for) = (fingerprint(), Duration::from_secs(30));
        let request = AcquireRequest::new(key, &fingerprint, LeaseId::random(), lease_for);
        self.store.acquire(request).await.unwrap()
    }

    fn key(&mut self, mode: Mode) -> StorageKey {
        if mode.fresh {
            self.asked += 1;
            return key(self.keys + mode.out_of.map_or(self.asked, |few| self.asked % few));
        }
        self.walk.next(mode.out_of.unwrap_or(self.keys))
    }

    /// How long the calls of one window take.
    async fn window(&mut self, mode: Mode) -> Duration {
        let fresh = mode.fresh;
        let keys: Vec<_> = (0..CALLS).map(|_| self.key(mode)).collect();
        let begin = Instant::now();
        for key in &keys {
            let acquired = self.acquire(key).await;
            match (fresh, &acquired) {
                (true, Acquired::Granted(_)) | (false, Acquired::Completed { .. }) => {}
                _ => panic!("{acquired:?}"),
            }
        }
        let took = begin.elapsed();
        if fresh {
            for key in &keys {
                assert!(self.store.forget(key, true).await.unwrap());
            }
        }
        took
    }
}

/// Pairs of windows over the few keys and the many, in turn.
async fn pairs<F, M>(name: &str, mode: &str, mut few: F, mut many: M)
where
    F: AsyncFnMut() -> Duration,
    M: AsyncFnMut() -> Duration,
{
    let (mut ratios, mut micros, mut micros_many) =
        (Figures::default(), Figures::default(), Figures::default());
    for round in 0..=ROUNDS {
        let (small, large) = if round % 2 == 0 {
            let small = few().await;
            (small, many().await)
        } else {
            let large = many().await;
            (few().await, large)
        };
        // The first is for caches and prepared statements.
        if round > 0 {
            ratios.add(large.as_secs_f64() / small.as_secs_f64());
            let each = 1e6 / f64::from(u32::try_from(CALLS).unwrap());
            micros.add(small.as_secs_f64() * each);
            micros_many.add(large.as_secs_f64() * each);
        }
    }
    let (ratio, few, many) = (ratios.spread(), micros.median(), micros_many.median());
    println!("| {name} | {mode} | {ratio} | {TARGET:.2} | {few:.2} | {many:.2} |");
}

async fn compare<S: Store>(name: &str, mut few: Filled<S>, mut many: Filled<S>) {
    for mode in MODES {
        let (few, many) = (async || few.window(mode).await, async || many.window(mode).await);
        pairs(name, mode.name, few, many).await;
    }
}

/// What main memory alone makes of it.
async fn compare_maps(many: u64) {
    let map = |keys| (0..keys).map(|n| (key(n), [n; 2])).collect::<HashMap<_, _>>();
    let window = |map: &HashMap<StorageKey, [u64; 2]>, walk: &mut Walk| {
        let keys: Vec<_> = (0..CALLS).map(|_| walk.next(map.len() as u64)).collect();
        let begin = Instant::now();
        for key in &keys {
            black_box(map.get(key));
        }
        begin.elapsed()
    };
    let (small, large) = (map(FEW), map(many));
    let (mut over_few, mut over_many) = (Walk(1), Walk(1));
    let few = async || window(&small, &mut over_few);
    pairs("memory", "a map's look-up", few, async || window(&large, &mut over_many)).await;
}

/// Says how long filling took, which is not part of any figure.
async fn filled<S: Store>(
    name: &str,
    store: S,
    keys: u64,
    fill: impl Future<Output = ()>,
) -> Filled<S> {
    let begin = Instant::now();
    fill.await;
    eprintln!("{name}: {keys} keys in {:.1?}", begin.elapsed());
    Filled::new(store, keys)
}

async fn memory(keys: u64) -> Filled<MemoryStore> {
    let store = MemoryStore::builder().budget(4 << 30).build();
    filled("memory", store.clone(), keys, fill::memory(&store, keys)).await
}

async fn redis(server: &RedisServer, keys: u64) -> Filled<RedisStore> {
    let prefix = format!("{keys}:");
    let store = RedisStore::builder().prefix(&prefix).connect(server.url()).await.unwrap();
    filled("Redis", store.clone(), keys, fill::redis(&server.url(), &store, keys)).await
}

async fn postgres(url: &str, keys: u64) -> Filled<PostgresStore> {
    let schema = format!("keys_{keys}");
    let store = PostgresStore::builder().schema(&schema).connect(url).await.unwrap();
    store.migrate().await.unwrap();
    filled("PostgreSQL", store.clone(), keys, fill::postgres(url, &schema, keys)).await
}

async fn sqlite(directory: &str, keys: u64) -> Filled<SqliteStore> {
    let url = format!("sqlite:{directory}/{keys}.db");
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    filled("SQLite", store.clone(), keys, fill::sqlite(&url, keys)).await
}

async fn run(many: u64, only: &[String]) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    println!("| store | mode | {many} keys ÷ {FEW} | target | µs at {FEW} | µs at {many} |");
    println!("|---|---|---|---|---|---|");
    if wanted("memory") {
        compare("memory", memory(FEW).await, memory(many).await).await;
        compare_maps(many).await;
    }
    // A server each, and both filled in the same way: what differs is the number of keys.
    if wanted("redis")
        && let (Some(one), Some(other)) = (RedisServer::start(), RedisServer::start())
    {
        compare("Redis", redis(&one, FEW).await, redis(&other, many).await).await;
    }
    // Autovacuum would come and go as it likes.
    let server = PostgresServer::builder().setting("autovacuum", "off");
    if wanted("postgres")
        && let Some(server) = server.setting("shared_buffers", "512MB").start()
    {
        let database = server.database();
        let url = database.url();
        compare("PostgreSQL", postgres(url, FEW).await, postgres(url, many).await).await;
    }
    if !wanted("sqlite") {
        return;
    }
    let directory = env::temp_dir().join(format!("idempotent-scale-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let path = directory.display().to_string();
    compare("SQLite", sqlite(&path, FEW).await, sqlite(&path, many).await).await;
    fs::remove_dir_all(&directory).unwrap();
}

fn main() {
    // cargo passes `--bench`.
    let mut only: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut many = MANY;
    only.retain(|word| word.parse().map(|keys| many = keys).is_err());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(many, &only));
}
