//! What the processes of a test share: a database of its own, and a broker.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, Context, consumer::PullConsumer};
use idempotent_servers::{Database, NatsServer, PostgresServer};
use tokio::{process::Command, time::sleep};

use crate::process::{PATIENCE, Process, orders};

/// How often something is asked again that is bound to come.
const POLL: Duration = Duration::from_millis(50);

pub(crate) struct World {
    database: Kept,
    nats: Option<NatsServer>,
}

enum Kept {
    Postgres(Database),
    /// A directory, which goes with the test.
    Sqlite(PathBuf),
}

impl World {
    /// `SQLite`, and the channel inside of the process.
    pub(crate) fn embedded() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("orders-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self { database: Kept::Sqlite(directory), nats: None }
    }

    /// `PostgreSQL`, and a NATS of this test's own; `None` where one is not installed.
    pub(crate) fn real() -> Option<Self> {
        let database = PostgresServer::shared()?.database();
        Some(Self { database: Kept::Postgres(database), nats: Some(NatsServer::start()?) })
    }

    /// `PostgreSQL`, and no broker: nothing is shipped.
    pub(crate) fn without_broker() -> Option<Self> {
        let database = PostgresServer::shared()?.database();
        Some(Self { database: Kept::Postgres(database), nats: None })
    }

    pub(crate) fn database_url(&self) -> String {
        match &self.database {
            Kept::Postgres(database) => database.url().to_owned(),
            Kept::Sqlite(directory) => format!("sqlite:{}/orders.db", directory.display()),
        }
    }

    /// The binary for this world. Whoever was killed is waited for briefly.
    pub(crate) fn command(&self, task: &[&str]) -> Command {
        let mut command = orders();
        command.args(task).args(["--database", &self.database_url()]);
        if let Some(nats) = &self.nats {
            command.args(["--broker", &nats.url()]);
        }
        command.args(["--listen", "127.0.0.1:0", "--relay-lease", "1s", "--ack-wait", "2s"]);
        command
    }

    /// Starts a process for a task, such as `relay`, with options of its own.
    pub(crate) async fn start(&self, task: &[&str]) -> Process {
        Process::start(&mut self.command(task)).await
    }

    /// What `reconcile` prints where nothing has to be done any more, and its exit code.
    pub(crate) async fn reconcile(&self) -> (Option<i32>, String) {
        let mut command = self.command(&["reconcile", "--older-than", "0s"]);
        let output = command.output().await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), printed.trim_end().to_owned())
    }

    /// Waits until so many orders are shipped, and nothing disagrees.
    pub(crate) async fn settled(&self, orders: usize) {
        let expected = format!(
            "nothing disagrees: {orders} orders, {orders} messages, {orders} shipments, \
             {} records",
            orders * 2
        );
        let until = Instant::now() + PATIENCE;
        loop {
            let (code, printed) = self.reconcile().await;
            if printed == expected {
                assert_eq!(code, Some(0));
                return;
            }
            assert!(Instant::now() < until, "{expected}\n--- reconcile says:\n{printed}");
            sleep(POLL).await;
        }
    }

    /// Waits until so many orders are shipped, in PostgreSQL.
    pub(crate) async fn shipped(&self, orders: usize) {
        let until = Instant::now() + PATIENCE;
        while self.sql("select count(*) from shipments") != orders.to_string() {
            assert!(Instant::now() < until, "{orders} orders are not shipped");
            sleep(POLL).await;
        }
    }

    /// Runs a statement in the database; answers what it printed.
    pub(crate) fn sql(&self, statement: &str) -> String {
        match &self.database {
            Kept::Postgres(database) => database.run(statement).trim().to_owned(),
            Kept::Sqlite(_) => panic!("there is no client of SQLite"),
        }
    }

    pub(crate) fn nats_mut(&mut self) -> &mut NatsServer {
        self.nats.as_mut().unwrap()
    }

    /// What the processes talk to, for a test that talks to it, too.
    pub(crate) async fn jetstream(&self) -> Context {
        let url = self.nats.as_ref().unwrap().url();
        jetstream::new(async_nats::connect(url).await.unwrap())
    }

    /// Waits until the broker has nothing to deliver and waits for no acknowledgement.
    pub(crate) async fn drained(&self) {
        let context = self.jetstream().await;
        let until = Instant::now() + PATIENCE;
        loop {
            let mut stream = context.get_stream("ORDERS").await.unwrap();
            let stored = stream.info().await.unwrap().state.last_sequence;
            let mut consumer: PullConsumer = stream.get_consumer("shipping").await.unwrap();
            let info = consumer.info().await.unwrap();
            if info.ack_floor.stream_sequence >= stored && info.num_ack_pending == 0 {
                return;
            }
            assert!(Instant::now() < until, "{info:?}");
            sleep(POLL).await;
        }
    }

    /// How many messages the stream holds.
    pub(crate) async fn stored(&self) -> u64 {
        let context = self.jetstream().await;
        let mut stream = context.get_stream("ORDERS").await.unwrap();
        stream.info().await.unwrap().state.messages
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Kept::Sqlite(directory) = &self.database {
            let _ = fs::remove_dir_all(directory);
        }
    }
}
