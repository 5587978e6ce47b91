//! What a store costs beside a client that sends the same commands to the same server by hand.
//!
//! | mode | a call |
//! |---|---|
//! | fresh | `acquire` of a new key, then `complete` |
//! | replay | `acquire` of one of 256 keys that are completed |
//!
//! A window of the store is divided by the mean of the two windows of the raw client beside it.
//! `cargo bench -p idempotent-benches --bench stores [-- [rounds] [redis] [postgres]]`
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark

mod measure;
#[path = "stores/rate.rs"]
mod rate;
#[path = "stores/raw.rs"]
mod raw;

use std::{
    env,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use idempotent_redis::RedisStore;
use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, LeaseId, Metadata, Record, StorageKey, Store,
};
use idempotent_servers::{PostgresServer, RedisServer};
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{
        PgPool,
        postgres::{PgConnectOptions, PgPoolOptions},
    },
};
use tokio::runtime::Builder;

use crate::{measure::Figures, rate::rate};

const WINDOW: Duration = Duration::from_millis(400);
const ROUNDS: usize = 15;
const LEASE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_hours(24);
/// Keys that are replayed.
const KEPT: u64 = 256;
/// Connections of a pool.
const CONNECTIONS: u32 = 10;

/// What both contenders send.
#[derive(Debug)]
struct Request {
    key: StorageKey,
    fingerprint: Fingerprint,
    lease_id: LeaseId,
}

impl Request {
    fn new(n: u64) -> Self {
        let key = StorageKey::derive(None, None, "POST /payments", &n);
        Self { key, fingerprint: Fingerprint::of(&"request"), lease_id: LeaseId::random() }
    }
}

/// Acquires, and completes what was granted to it. Answers whether it was.
trait Contender: Clone + Send + Sync + 'static {
    fn call(&self, request: &Request, record: &Record) -> impl Future<Output = bool> + Send;
}

/// The store.
#[derive(Clone, Debug)]
struct Ours<S>(S);

impl<S: Store + Clone> Contender for Ours<S> {
    async fn call(&self, request: &Request, record: &Record) -> bool {
        let Request { key, fingerprint, lease_id } = request;
        let acquire = AcquireRequest::new(key, fingerprint, *lease_id, LEASE);
        match self.0.acquire(acquire).await.unwrap() {
            Acquired::Granted(lease) => {
                self.0.complete(&lease, record.clone(), TTL).await.unwrap();
                true
            }
            Acquired::Completed { record, .. } => {
                assert!(!record.body().is_empty());
                false
            }
            other => panic!("neither granted nor completed: {other:?}"),
        }
    }
}

/// The answer of a small JSON API.
fn record() -> Record {
    let content_type = HeaderName::from_static("content-type");
    let headers = vec![(content_type, HeaderValue::from_static("application/json"))];
    let metadata =
        Metadata::Response { status: StatusCode::CREATED, headers, trailers: Vec::new() };
    let body = format!("{{\"id\":\"{:0>182}\"}}", 1);
    Record::new(Fingerprint::of(&"request"), metadata, Bytes::from(body))
}

/// Keys that no contender has had.
static NEXT: AtomicU64 = AtomicU64::new(KEPT);

async fn window<C: Contender>(contender: &C, record: &Arc<Record>, fresh: bool) -> f64 {
    let (contender, record) = (contender.clone(), Arc::clone(record));
    rate(WINDOW, move || {
        let (contender, record) = (contender.clone(), Arc::clone(&record));
        async move {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let request = Request::new(if fresh { next } else { next % KEPT });
            assert_eq!(contender.call(&request, &record).await, fresh);
        }
    })
    .await
}

async fn compare<S, R>(name: &str, target: f64, rounds: usize, store: S, raw: R)
where
    S: Store + Clone,
    R: Contender,
{
    let (ours, record) = (Ours(store), Arc::new(record()));
    for key in 0..KEPT {
        assert!(ours.call(&Request::new(key), &record).await);
    }
    for fresh in [true, false] {
        let (mut ratios, mut per_second, mut per_second_raw) =
            (Figures::default(), Figures::default(), Figures::default());
        window(&ours, &record, fresh).await;
        let mut before = window(&raw, &record, fresh).await;
        for _ in 0..rounds {
            let of_ours = window(&ours, &record, fresh).await;
            let after = window(&raw, &record, fresh).await;
            ratios.add(of_ours / f64::midpoint(before, after));
            per_second.add(of_ours);
            per_second_raw.add(after);
            before = after;
        }
        let mode = if fresh { "fresh" } else { "replay" };
        println!(
            "| {name} | {mode} | {} | {target:.2} | {:.0} | {:.0} |",
            ratios.spread(),
            per_second.median(),
            per_second_raw.median(),
        );
    }
}

/// A pool like the one that `PostgresStore::connect` makes.
fn pool(url: &str) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn run(rounds: usize, only: &[String]) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    println!("| store | mode | calls/s ÷ raw client | target | calls/s | raw |");
    println!("|---|---|---|---|---|---|");
    if wanted("redis")
        && let Some(server) = RedisServer::start()
    {
        let store = RedisStore::connect(server.url()).await.unwrap();
        let raw = raw::Redis::connect(&server.url()).await;
        compare("Redis", 0.85, rounds, store, raw).await;
    }
    if wanted("postgres")
        && let Some(server) = PostgresServer::start()
    {
        let database = server.database();
        let store = PostgresStore::new(pool(database.url()));
        store.migrate().await.unwrap();
        compare("PostgreSQL", 0.80, rounds, store, raw::Postgres(pool(database.url()))).await;
    }
}

fn main() {
    // cargo passes `--bench`.
    let mut only: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut rounds = ROUNDS;
    only.retain(|word| word.parse().map(|wanted| rounds = wanted).is_err());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(rounds, &only));
}
