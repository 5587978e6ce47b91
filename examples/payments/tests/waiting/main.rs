//! A process that waits for what another one runs: how long, and at what cost.
//!
//! It measures time, so it is not among the tests that run beside each other.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::doc_markdown)] // the names of databases are no code

#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../e2e/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../e2e/server.rs"]
mod server;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use idempotent_servers::{PostgresServer, Proxy, RedisServer};
use tokio::task::JoinHandle;

use crate::{
    client::{Answer, Sent},
    place::{Place, Spot},
    server::Server,
};

const ROUNDS: usize = 6;
const SAMPLES: usize = 200;
const AT_ONCE: usize = 10;
/// What 99 of 100 duplicates in another process wait at the most, after the first has its answer.
const SOON: Duration = Duration::from_millis(50);

/// One place after the other: they would measure each other. Questions are counted, so two may be at
/// once.
#[tokio::test]
async fn a_process_waits_briefly_and_asks_seldom_for_what_another_one_runs() {
    for place in [Place::PostgresRedis, Place::Postgres, Place::Sqlite] {
        is_answered_soon(place).await;
    }
    tokio::join!(is_asked_for_by_one(true), is_asked_for_by_one(false));
}

/// Other programs of this machine may be in the way for a while, so the best of some rounds counts.
async fn is_answered_soon(place: Place) {
    let Some(spot) = Spot::new(place) else { return };
    let (one, other) = (spot.start(&[]).await, spot.start(&[]).await);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut waited = Vec::new();
        for batch in 0..SAMPLES / AT_ONCE {
            let keys: Vec<_> = (0..AT_ONCE).map(|key| format!("{round}-{batch}-{key}")).collect();
            // Ends anywhere between two looks.
            let delay = 150 + std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 50;
            let run = format!("delay={delay}ms");
            let first = keys.iter().map(|key| timed(one.pay(key).simulate(&run).send())).collect();
            let running = (round * SAMPLES / AT_ONCE + batch + 1) * AT_ONCE;
            one.logged("simulated: delay", running).await;
            let second = keys.iter().map(|key| timed(other.pay(key).send())).collect();
            waited.extend(later(first, second).await);
        }
        waited.sort_unstable();
        let (median, p99) = (waited[SAMPLES / 2], waited[SAMPLES * 99 / 100]);
        println!("{place:?}: the other process answers {median:.1?} later (median), p99 {p99:.1?}");
        rounds.push(p99);
        if p99 <= SOON {
            return;
        }
    }
    panic!("{place:?}: p99 of the rounds: {rounds:.1?}");
}

type Timed = JoinHandle<(Answer, Instant)>;

fn timed(sent: Sent) -> Timed {
    tokio::spawn(async { (sent.answer().await, Instant::now()) })
}

/// How much later than the first ones their duplicates are answered.
async fn later(first: Vec<Timed>, second: Vec<Timed>) -> Vec<Duration> {
    let pairs = join_all(first).await.into_iter().zip(join_all(second).await);
    let later = pairs.map(|(first, second)| {
        let ((first, at), (second, later)) = (first.unwrap(), second.unwrap());
        first.assert_paid(1);
        assert!(second.is_replay(), "{second:?}");
        assert_eq!(second.body, first.body);
        later.saturating_duration_since(at)
    });
    later.collect()
}

/// Counts how often a process asks the store while its clients wait for another process.
async fn is_asked_for_by_one(redis: bool) {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let store = if redis { RedisServer::start() } else { None };
    let (waits, runs, proxy) = match &store {
        Some(redis) => {
            let proxy = Proxy::new(redis.address());
            let at = async |store: &str| {
                Server::start_with(&["--database", database.url(), "--store", store]).await
            };
            (at(&proxy.url(&redis.url())).await, at(&redis.url()).await, proxy)
        }
        None if redis => return,
        None => {
            let proxy = Proxy::new(place::address(database.url()));
            let at = async |database: &str| Server::start_with(&["--database", database]).await;
            (at(&proxy.url(database.url())).await, at(database.url()).await, proxy)
        }
    };
    let mut started = 0;
    for (keys, waiters) in [(1, 1), (1, 32), (8, 8)] {
        let keys: Vec<_> = (0..keys).map(|key| format!("{keys}-{waiters}-{key}")).collect();
        let running: Vec<_> =
            keys.iter().map(|key| runs.pay(key).simulate("delay=1500ms").send()).collect();
        started += keys.len();
        runs.logged("simulated: delay", started).await;
        let (before, begun) = (proxy.round_trips(), Instant::now());
        let waiting: Vec<_> =
            keys.iter().flat_map(|key| (0..waiters).map(|_| waits.pay(key).send())).collect();
        let answers: Vec<Answer> = join_all(waiting.into_iter().map(Sent::answer)).await;
        assert!(answers.iter().all(Answer::is_replay));
        let (asked, took) = (proxy.round_trips() - before, begun.elapsed());
        join_all(running.into_iter().map(Sent::answer)).await;
        println!(
            "redis {redis}: {} key(s), {waiters} waiter(s) each: asked {asked} times in {took:.1?}",
            keys.len()
        );
        // One poller looks every 20 ms at the most, once it has begun with a few quicker looks. The
        // driver of PostgreSQL asks once more whenever it takes a connection back.
        let looks = usize::try_from(took.as_millis()).unwrap() / 20 + 10;
        let most = keys.len() * looks * if redis { 1 } else { 2 };
        assert!(asked <= most, "{asked} > {most}");
    }
}
