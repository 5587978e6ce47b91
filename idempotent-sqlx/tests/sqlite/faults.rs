//! Processes that are killed, that are many, and that hold the lock; files that are no databases.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use idempotent_runtime::{Acquired, KeyState, Store as _, StoreError};
use idempotent_sqlx::{
    SqliteStore,
    sqlite::begin_immediate,
    sqlx::{query_scalar, sqlite::SqliteConnectOptions},
};
use tokio::task::JoinSet;

use crate::kit::{File, LONG, acquire, granted, key, record};

const URL: &str = "IDEMPOTENT_TEST_CHILD_URL";
const DOES: &str = "IDEMPOTENT_TEST_CHILD_DOES";

/// Not a test: what a child process does, which is this binary again.
#[tokio::test]
async fn child() {
    let (Ok(url), Ok(does)) = (env::var(URL), env::var(DOES)) else { return };
    // Written past the harness, which would capture it.
    let say = |line: String| {
        let mut out = std::io::stderr().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    let store = SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    match &*does {
        "completes for ever" => {
            for n in 0.. {
                let lease = granted(&store, &key(n), LONG).await;
                store.complete(&lease, record(&n.to_string()), LONG).await.unwrap();
                say(format!("completed {n}"));
            }
        }
        "migrates" => {}
        "holds the lock" => {
            let pool = idempotent_sqlx::sqlx::SqlitePool::connect(&url).await.unwrap();
            let _tx = begin_immediate(&pool).await.unwrap();
            say("locked".to_owned());
            std::future::pending::<()>().await;
        }
        other => panic!("{other}"),
    }
}

struct Child(std::process::Child);

impl Child {
    fn new(file: &File, does: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "faults::child", "--nocapture", "--test-threads=1"]);
        command.env(URL, file.url()).env(DOES, does);
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stderr.take().unwrap()).lines().map_while(Result::ok)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Killed in the middle of writing, again and again: what it said is there, and the next goes on.
#[tokio::test]
async fn what_was_completed_survives_kill_9_and_the_next_process_goes_on() {
    let file = File::empty();
    let mut said = 0;
    for round in 0..5 {
        let mut child = Child::new(&file, "completes for ever");
        let mut lines = child.lines();
        // The first rounds are killed at once, the later ones when they have done more.
        let last = lines.by_ref().take(1 + 20 * round).last().unwrap();
        drop(child);
        // What it said before it died.
        let last = lines.last().unwrap_or(last);
        let last: u64 = last.strip_prefix("completed ").unwrap().parse().unwrap();
        let store = file.store().await;
        for n in 0..=last {
            let state = store.inspect(&key(n)).await.unwrap();
            let KeyState::Completed { record, .. } = state else { panic!("{n}: {state:?}") };
            assert_eq!(record.body(), n.to_string().as_bytes());
        }
        // A lease that it held when it was killed is held, a transaction is not.
        granted(&store, &key(1_000_000 + round as u64), LONG).await;
        // The next child begins again.
        for n in 0..=last + 1 {
            store.forget(&key(n), true).await.unwrap();
        }
        said += last;
    }
    assert!(said > 0);
}

#[tokio::test]
async fn a_foreign_process_that_holds_the_lock_makes_the_store_unavailable_and_loses_nothing() {
    let file = File::new().await;
    let store = SqliteStore::builder()
        .busy_timeout(Duration::from_millis(50))
        .connect(&file.url())
        .await
        .unwrap();
    let lease = granted(&store, &key(1), LONG).await;
    let mut child = Child::new(&file, "holds the lock");
    assert_eq!(child.lines().next().as_deref(), Some("locked"));
    for answer in [
        store.renew(&lease, LONG).await,
        store.complete(&lease, record("paid"), LONG).await,
        acquire(&store, &key(2), LONG).await.map(drop),
    ] {
        assert!(answer.as_ref().is_err_and(StoreError::is_unknown), "{answer:?}");
    }
    drop(child);
    store.renew(&lease, LONG).await.unwrap();
    store.complete(&lease, record("paid"), LONG).await.unwrap();
    granted(&store, &key(2), LONG).await;
}

#[tokio::test]
async fn ten_processes_open_and_migrate_a_new_file_at_once() {
    let file = File::empty();
    let mut children: Vec<_> = (0..10).map(|_| Child::new(&file, "migrates")).collect();
    for child in &mut children {
        let output: Vec<_> = child.lines().collect();
        assert!(child.0.wait().unwrap().success(), "{output:?}");
    }
    file.store().await.migrate().await.unwrap();
    granted(&file.store().await, &key(1), LONG).await;
}

#[tokio::test]
async fn many_handles_write_at_once_and_none_is_refused() {
    let file = File::new().await;
    let mut tasks = JoinSet::new();
    for handle in 0..4 {
        let store = file.store().await;
        for task in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                for n in 0..10 {
                    let key = key(handle * 1000 + task * 100 + n);
                    let lease = granted(&store, &key, LONG).await;
                    store.complete(&lease, record("paid"), LONG).await.unwrap();
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// A call that is dropped half-way leaves no transaction behind.
#[tokio::test]
async fn calls_that_are_dropped_leave_the_writer_free() {
    let file = File::new().await;
    let store = file.store().await;
    for n in 0..200 {
        let key = key(n);
        let limit = Duration::from_micros(n * 10);
        let acquired = tokio::time::timeout(limit, acquire(&store, &key, LONG)).await;
        if acquired.is_err() {
            store.forget(&key, true).await.unwrap();
        }
    }
    granted(&store, &key(1000), LONG).await;
    let other = file.store().await;
    granted(&other, &key(1001), LONG).await;
}

#[tokio::test]
async fn databases_in_memory_are_refused() {
    let refused = SqliteStore::connect("sqlite::memory:").await.unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(source.contains("give the path of a local file"), "{source}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let file = File::empty();
    let url = file.url();
    fs::write(url.strip_prefix("sqlite:").unwrap(), "not a database".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::connect(&url).await, Err(StoreError::Corrupt(_))));
}

/// SQLite ends the transaction by itself, and the driver goes on counting it as open.
#[tokio::test]
async fn a_full_disk_refuses_new_keys_and_is_forgotten_when_there_is_room() {
    let file = File::new().await;
    let pages: i64 = query_scalar("pragma page_count").fetch_one(&file.pool(1)).await.unwrap();
    let options: SqliteConnectOptions = file.url().parse().unwrap();
    let options = options.pragma("max_page_count", (pages + 8).to_string());
    let store = SqliteStore::builder().open(options).await.unwrap();
    let mut leases = Vec::new();
    let full = loop {
        let at = u64::try_from(leases.len()).unwrap();
        match acquire(&store, &key(at), LONG).await {
            Ok(Acquired::Granted(lease)) => leases.push(lease),
            other => break other,
        }
    };
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    // Each time as the first.
    let refused = key(u64::try_from(leases.len()).unwrap());
    for _ in 0..3 {
        let again = acquire(&store, &refused, LONG).await;
        assert!(matches!(again, Err(StoreError::Full)), "{again:?}");
    }
    let enough = leases.len() / 2;
    for lease in &leases[..enough] {
        assert!(store.forget(&lease.key, true).await.unwrap());
    }
    granted(&store, &refused, LONG).await;
}

/// CASES 77: what has no room for a result does not run.
#[tokio::test]
async fn a_step_without_room_in_the_file_is_refused_before_its_effect() {
    let file = File::new().await;
    let pages: i64 = query_scalar("pragma page_count").fetch_one(&file.pool(1)).await.unwrap();
    let options: SqliteConnectOptions = file.url().parse().unwrap();
    let options = options.pragma("max_page_count", (pages + 8).to_string());
    let store = SqliteStore::builder().open(options).await.unwrap();
    let [lease, greedy] =
        [granted(&store, &key(1), LONG).await, granted(&store, &key(2), LONG).await];
    store.reserve_step(&lease, LONG).await.unwrap();
    let count = "select count(*) from idempotent_steps";
    let steps: i64 = query_scalar(count).fetch_one(&file.pool(1)).await.unwrap();
    assert_eq!(steps, 0, "nothing of it stays");
    let mut full = Ok(());
    for nth in 0.. {
        full = store.save_step(&greedy, &nth.to_string(), vec![7; 2000].into()).await;
        if full.is_err() {
            break;
        }
    }
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    for _ in 0..3 {
        let refused = store.reserve_step(&lease, LONG).await;
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    }
    assert!(store.forget(&greedy.key, true).await.unwrap());
    store.reserve_step(&lease, LONG).await.unwrap();
    store.save_step(&lease, "charge", vec![7; 1000].into()).await.unwrap();
    let gone = store.reserve_step(&greedy, LONG).await;
    assert!(matches!(gone, Err(StoreError::LeaseLost)), "{gone:?}");
}
