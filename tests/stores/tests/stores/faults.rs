//! Servers that are killed, hang, lose their connections, or refuse them, while three processes serve
//! a trickle of requests.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::response::Response;
use http::header::RETRY_AFTER;
use idempotent_runtime::Idempotency;
use idempotent_servers::{Database, PostgresServer, RedisServer};
use tokio::{
    task::{JoinSet, block_in_place},
    time::sleep,
};

use crate::{
    backend::{Backend, Postgres, Redis, Remote},
    support::{Handler, Process, Run, in_time},
};

/// Each test for a server of its own.
macro_rules! of_servers {
    ($($test:ident),+ $(,)?) => { $(
        #[allow(non_snake_case)]
        mod $test {
            use super::{PostgresServer, RedisServer, Server as _};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn Redis() {
                let Some(server) = RedisServer::builder().durable().start() else { return };
                super::in_time(super::$test(server.serving())).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn Postgres() {
                let Some(server) = PostgresServer::builder().durable().start() else { return };
                super::in_time(super::$test(server.serving())).await;
            }
        }
    )+ };
}

of_servers!(
    a_killed_server_comes_back_and_every_key_has_one_effect_and_one_answer,
    a_server_that_hangs_for_five_seconds_delays_and_repeats_nothing,
    connections_that_are_closed_by_the_server_are_opened_again,
    a_server_that_refuses_connections_is_a_503_until_it_takes_them,
);

/// A server that a test may break.
trait Server: Sized {
    type Place: Remote;

    fn serving(self) -> Broken<Self>;
    fn kill(&mut self);
    fn restart(&mut self);
    fn pause(&mut self);
    fn resume(&mut self);
    /// Closes the connections of all processes.
    fn sever(&self, place: &Self::Place);
}

/// A server, and a place on it.
struct Broken<S: Server> {
    server: S,
    place: S::Place,
}

impl Server for RedisServer {
    type Place = Redis;

    fn serving(self) -> Broken<Self> {
        let place = Redis::on(&self.url());
        Broken { server: self, place }
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }

    fn pause(&mut self) {
        self.pause();
    }

    fn resume(&mut self) {
        self.resume();
    }

    fn sever(&self, _: &Redis) {
        self.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
}

impl Server for PostgresServer {
    type Place = Postgres;

    fn serving(self) -> Broken<Self> {
        let place = Postgres::in_database(self.database());
        Broken { server: self, place }
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }

    fn pause(&mut self) {
        self.pause();
    }

    fn resume(&mut self) {
        self.resume();
    }

    fn sever(&self, place: &Postgres) {
        let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
            where datname = current_database() and pid <> pg_backend_pid()";
        place.database().map(|database: &Database| database.run(terminate));
    }
}

/// A killed process that had asked for a lease and got no answer blocks its key for so long: longer
/// than any of the faults, so that nothing may be executed twice.
const LEASE: Duration = Duration::from_secs(7);
/// Clients, each of which has one key under way.
const CLIENTS: usize = 6;
/// How many keys succeed before a fault, and again after it.
const KEYS: usize = 8 * CLIENTS;
/// How long may pass without what a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a trickle of requests has come to.
#[derive(Clone, Default)]
struct Trickle {
    effects: Arc<Mutex<HashMap<String, usize>>>,
    answers: Arc<Mutex<HashMap<String, String>>>,
    /// Answers that were no success.
    refusals: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
}

impl Trickle {
    fn handler(&self) -> Handler {
        let effects = Arc::clone(&self.effects);
        Handler::new(move |run| Self::pay(Arc::clone(&effects), run))
    }

    async fn pay(effects: Arc<Mutex<HashMap<String, usize>>>, run: Run) -> Response {
        sleep(Duration::from_millis(2)).await;
        *effects.lock().unwrap().entry(run.key.clone()).or_default() += 1;
        sleep(Duration::from_millis(2)).await;
        run.paid()
    }

    /// Sends keys from all clients before, during and after `fault`, each key until it succeeds. Then
    /// looks at each of them.
    async fn through(&self, processes: Vec<Process>, fault: impl Future<Output = ()>) {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (trickle, processes) = (self.clone(), processes.clone());
            clients.spawn(async move {
                let mut n = client;
                while !trickle.ends.load(Ordering::SeqCst) {
                    trickle.client(&processes, n).await;
                    n += CLIENTS;
                    sleep(Duration::from_millis(15)).await;
                }
            });
        }
        let course = async {
            self.goes_on(KEYS).await;
            fault.await;
            self.goes_on(KEYS).await;
            self.ends.store(true, Ordering::SeqCst);
        };
        let ended = async {
            // A client that sees what it may not see ends with a panic, which ends the test.
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
        };
        in_time(async { tokio::join!(course, ended) }).await;
        self.verify(&processes).await;
    }

    /// Waits until so many keys more have succeeded.
    async fn goes_on(&self, keys: usize) {
        let enough = self.answers.lock().unwrap().len() + keys;
        let answered = || self.answers.lock().unwrap().len() >= enough;
        self.until("keys that succeed", answered).await;
    }

    /// Waits until one more request is told that its store is unavailable.
    async fn is_refused(&self) {
        let before = self.unavailable();
        self.until("a refusal", || self.unavailable() > before).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let (answers, refusals) = (self.answers.lock().unwrap().len(), self.refusals());
            assert!(
                Instant::now() < deadline,
                "waited for {PATIENCE:?} in vain: {what}; {answers} keys, refusals {refusals:?}"
            );
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sends one key, to another process each time, until it succeeds.
    async fn client(&self, processes: &[Process], n: usize) {
        let key = format!("k{n}");
        for process in processes.iter().cycle().skip(n) {
            let answer = process.pay(&key).await;
            let refused = match answer.status.as_u16() {
                201 => {
                    self.answers.lock().unwrap().insert(key, answer.text().to_owned());
                    return;
                }
                503 => "store_unavailable",
                _ => "in_progress",
            };
            answer.assert_problem(if refused == "in_progress" { 409 } else { 503 }, refused);
            assert!(answer.headers.contains_key(RETRY_AFTER), "{answer:?}");
            self.refusals.lock().unwrap().push(refused.to_owned());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One effect and one answer for each key, in every process.
    async fn verify(&self, processes: &[Process]) {
        let answers = self.answers.lock().unwrap().clone();
        let effects = self.effects.lock().unwrap().clone();
        assert!(answers.len() > 2 * CLIENTS, "{} keys", answers.len());
        for (key, text) in &answers {
            assert_eq!(effects[key], 1, "effects of {key}");
            for process in processes {
                let again = process.pay(key).await;
                assert_eq!((again.text(), again.is_replayed()), (text.as_str(), true), "{key}");
            }
        }
        assert_eq!(effects.len(), answers.len());
        assert_eq!(self.effects.lock().unwrap().values().sum::<usize>(), answers.len());
        println!("{} keys, {} refusals", answers.len(), self.refusals().len());
    }

    fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }

    /// How often a request was told that its store is unavailable.
    fn unavailable(&self) -> usize {
        let refusals = self.refusals.lock().unwrap();
        refusals.iter().filter(|refusal| *refusal == "store_unavailable").count()
    }
}

async fn processes<B: Backend>(place: &B, trickle: &Trickle) -> Vec<Process> {
    let handler = trickle.handler();
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(process(place.connect().await, &handler));
    }
    processes
}

fn process<S: idempotent_runtime::Store>(store: S, handler: &Handler) -> Process {
    let settings = Idempotency::builder(store).lease(LEASE).wait(Duration::from_secs(1));
    Process::with(settings, handler)
}

/// CASE 30.
async fn a_killed_server_comes_back_and_every_key_has_one_effect_and_one_answer<S: Server>(
    mut broken: Broken<S>,
) {
    let trickle = Trickle::default();
    let processes = processes(&broken.place, &trickle).await;
    let fault = async {
        block_in_place(|| broken.server.kill());
        sleep(Duration::from_millis(500)).await;
        block_in_place(|| broken.server.restart());
    };
    trickle.through(processes, fault).await;
}

/// CASE 31.
async fn a_server_that_hangs_for_five_seconds_delays_and_repeats_nothing<S: Server>(
    mut broken: Broken<S>,
) {
    let trickle = Trickle::default();
    let processes = processes(&broken.place, &trickle).await;
    let fault = async {
        block_in_place(|| broken.server.pause());
        tokio::join!(sleep(Duration::from_secs(5)), trickle.is_refused());
        block_in_place(|| broken.server.resume());
    };
    trickle.through(processes, fault).await;
    assert!(trickle.refusals().contains(&"store_unavailable".to_owned()));
}

/// CASE 30.
async fn connections_that_are_closed_by_the_server_are_opened_again<S: Server>(broken: Broken<S>) {
    let trickle = Trickle::default();
    let processes = processes(&broken.place, &trickle).await;
    let fault = async {
        for _ in 0..5 {
            block_in_place(|| broken.server.sever(&broken.place));
            trickle.goes_on(CLIENTS).await;
        }
    };
    trickle.through(processes, fault).await;
}

async fn a_server_that_refuses_connections_is_a_503_until_it_takes_them<S: Server>(
    broken: Broken<S>,
) {
    let trickle = Trickle::default();
    let handler = trickle.handler();
    let (mut processes, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let proxy = broken.place.proxy();
        processes.push(process(broken.place.connect_through(&proxy).await, &handler));
        proxies.push(proxy);
    }
    let refuse = |refuse| {
        for proxy in &proxies {
            proxy.refuse(refuse);
            proxy.cut();
        }
    };
    let fault = async {
        refuse(true);
        tokio::join!(sleep(Duration::from_secs(1)), trickle.is_refused());
        refuse(false);
    };
    trickle.through(processes, fault).await;
    assert!(trickle.refusals().contains(&"store_unavailable".to_owned()));
}
