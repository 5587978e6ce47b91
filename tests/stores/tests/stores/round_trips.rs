//! What a request costs in round trips, counted by a proxy before the server.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::response::IntoResponse as _;
use idempotent_redis::RedisStore;
use idempotent_runtime::{Cached, StepError, Store};
use idempotent_servers::Proxy;
use idempotent_sqlx::{PostgresStore, RecordIn as _};

use crate::{
    backend::{Backend as _, Postgres, Redis, Remote},
    ledger::Ledger as _,
    support::{Handler, Process, assert_paid, in_time},
};

over!(Redis, Postgres: a_fresh_request_takes_two_round_trips_and_a_replay_one,
    a_replay_from_memory_takes_none, a_step_takes_two);

/// A store whose calls all go over one connection.
trait Counted: Remote {
    /// How many round trips a proxy sees for one that a call waits for.
    const EACH: usize;

    async fn narrow(&self, url: &str) -> Self::Store;

    /// Waits until the connection has nothing more to do.
    async fn quiet(store: &Self::Store);
}

impl Counted for Redis {
    const EACH: usize = 1;

    async fn narrow(&self, url: &str) -> RedisStore {
        self.connect_to(url).await
    }

    async fn quiet(_: &RedisStore) {}
}

impl Counted for Postgres {
    /// The driver asks each connection that comes back whether it is well. No call waits for that.
    const EACH: usize = 2;

    async fn narrow(&self, url: &str) -> PostgresStore {
        let store = PostgresStore::builder().max_connections(1).connect(url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn quiet(store: &PostgresStore) {
        in_time(async {
            while store.pool().num_idle() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A process behind a proxy.
struct Trips<B: Counted> {
    proxy: Proxy,
    store: B::Store,
    process: Process,
}

impl<B: Counted> Trips<B> {
    /// When this returns, scripts are loaded and statements prepared.
    async fn new<S: Store>(backend: &B, handler: &Handler, over: impl Fn(B::Store) -> S) -> Self {
        let proxy = backend.proxy();
        let store = backend.narrow(&proxy.url(&backend.url())).await;
        let process = Process::over(over(store.clone()), handler);
        for _ in 0..2 {
            process.pay("warm").await;
        }
        Self { proxy, store, process }
    }

    /// How many a call waited for while something was done.
    async fn of(&self, done: impl Future<Output = ()>) -> usize {
        B::quiet(&self.store).await;
        let before = self.proxy.round_trips();
        done.await;
        B::quiet(&self.store).await;
        let seen = self.proxy.round_trips() - before;
        assert_eq!(seen % B::EACH, 0);
        seen / B::EACH
    }

    async fn fresh(&self, key: &str, nth: usize) -> usize {
        self.of(async { assert_paid(&self.process.pay(key).await, nth, 1) }).await
    }

    async fn replay(&self, key: &str) -> usize {
        self.of(async { assert!(self.process.pay(key).await.is_replayed()) }).await
    }
}

async fn a_fresh_request_takes_two_round_trips_and_a_replay_one<B: Counted>(backend: B) {
    let trips = Trips::new(&backend, &Handler::pays(), |store| store).await;
    for nth in 2..12 {
        let key = format!("k{nth}");
        assert_eq!(trips.fresh(&key, nth).await, 2);
        assert_eq!(trips.replay(&key).await, 1);
    }
}

async fn a_replay_from_memory_takes_none<B: Counted>(backend: B) {
    let trips = Trips::new(&backend, &Handler::pays(), Cached::new).await;
    assert_eq!(trips.fresh("k", 2).await, 2);
    for _ in 0..10 {
        assert_eq!(trips.replay("k").await, 0);
    }
}

/// The lease is renewed before a step, and its result is saved after it.
async fn a_step_takes_two<B: Counted>(backend: B) {
    let handler = Handler::new(|run| async move {
        let charge = run.attempt.step("charge", async { Ok::<_, StepError>(7) }).await;
        assert_eq!(charge.unwrap(), 7);
        run.paid()
    });
    let trips = Trips::new(&backend, &handler, |store| store).await;
    // What only a step needs has been prepared by the first request.
    assert_eq!(trips.fresh("k", 2).await, 2 + 2);
}

/// One statement more in the handler's transaction; the store is asked for the lease and, in the place
/// of completing it, what was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_a_transaction_is_one_statement_of_it() {
    let Some(place) = Postgres::shared() else { return };
    let (table, proxy) = (place.open().await, Arc::new(place.proxy()));
    let pool = place.pool_of(&proxy.url(&place.url()), 1);
    let statements = Arc::new(AtomicUsize::new(0));
    let handler = Handler::new({
        let statements = Arc::clone(&statements);
        move |run| {
            let (pool, proxy, statements) = (pool.clone(), Arc::clone(&proxy), statements.clone());
            async move {
                let mut tx = Postgres::begin(&pool).await.unwrap();
                Postgres::pay(&mut tx, &run.key).await.unwrap();
                let before = proxy.round_trips();
                let recorded = run.attempt.record_in(&mut tx, run.paid()).await.unwrap();
                statements.store(proxy.round_trips() - before, Ordering::SeqCst);
                tx.commit().await.unwrap();
                recorded.into_response()
            }
        }
    });
    let trips = Trips::new(&place, &handler, |store| store).await;
    for nth in 2..5 {
        let key = format!("k{nth}");
        assert_eq!(trips.fresh(&key, nth).await, 2);
        assert_eq!(statements.load(Ordering::SeqCst), 1);
        assert_eq!(trips.replay(&key).await, 1);
    }
    assert_eq!(Postgres::payments(&table).await, 4);
}
