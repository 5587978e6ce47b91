//! Databases and stores that are killed, hang, or whose answers get lost.

use std::time::Duration;

use futures_util::future::join_all;
use idempotent_servers::{Answers, Database, PostgresServer, Proxy, RedisServer, until};

use idempotent_sqlx::sqlx::{Connection as _, PgConnection, SqliteConnection, query};
use tokio::time::sleep;

use crate::{
    client::{Call, Sent},
    place::{Spot, address},
    trickle::Trickle,
};

/// CASES 25: the process goes on with a database that was away, on connections that were cut.
#[tokio::test]
async fn a_postgres_that_is_killed_and_restarted_loses_and_doubles_nothing() {
    let Some(mut postgres) = PostgresServer::builder().durable().start() else { return };
    let database = postgres.database();
    let server = Spot::at(database.url(), None).start(&[]).await;
    let mut trickle = Trickle::to(&server);
    for _ in 0..3 {
        trickle.goes_on(30).await;
        postgres = off_the_runtime(postgres, PostgresServer::kill).await;
        trickle.is_refused().await;
        postgres = off_the_runtime(postgres, PostgresServer::restart).await;
    }
    trickle.goes_on(30).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

#[tokio::test]
async fn a_postgres_that_hangs_loses_and_doubles_nothing() {
    let Some(mut postgres) = PostgresServer::start() else { return };
    let database = postgres.database();
    let server = Spot::at(database.url(), None).start(&[]).await;
    let mut trickle = Trickle::to(&server);
    trickle.goes_on(30).await;
    postgres.pause();
    let five_seconds = sleep(Duration::from_secs(5));
    tokio::join!(five_seconds, trickle.is_refused());
    postgres.resume();
    trickle.goes_on(30).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_restarted_loses_and_doubles_nothing() {
    let Some(mut redis) = RedisServer::builder().durable().start() else { return };
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let server = Spot::at(database.url(), Some(&redis.url())).start(&[]).await;
    let mut trickle = Trickle::to(&server);
    for _ in 0..3 {
        trickle.goes_on(30).await;
        redis = off_the_runtime(redis, RedisServer::kill).await;
        trickle.is_refused().await;
        redis = off_the_runtime(redis, RedisServer::restart).await;
    }
    trickle.goes_on(30).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

#[tokio::test]
async fn a_redis_that_hangs_loses_and_doubles_nothing() {
    let Some(mut redis) = RedisServer::start() else { return };
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let server = Spot::at(database.url(), Some(&redis.url())).start(&[]).await;
    let mut trickle = Trickle::to(&server);
    trickle.goes_on(30).await;
    redis.pause();
    let five_seconds = sleep(Duration::from_secs(5));
    tokio::join!(five_seconds, trickle.is_refused());
    redis.resume();
    trickle.goes_on(30).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

/// The handler itself cannot have its database: nothing was paid, and nothing is recorded.
#[tokio::test]
async fn a_ledger_that_is_away_is_told_and_not_recorded() {
    let Some(mut postgres) = PostgresServer::builder().durable().start() else { return };
    let database = postgres.database();
    let server = Spot::at(database.url(), None).start(&["--store", "memory"]).await;
    server.pay("a").answer().await.assert_paid(1);
    postgres.kill();
    let refund = || server.post("/payments/1/refund").key("c").json(r#"{"amount": 400}"#);
    let calls = [server.pay("b"), refund(), server.get("/payments"), server.get("/payments/1")];
    for answer in join_all(calls.map(Call::answer)).await {
        answer.problem(503);
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    }
    assert!(server.pay("a").answer().await.is_replay());
    postgres.restart();
    server.pay("b").answer().await.assert_paid(2);
    assert_eq!(refund().answer().await.json()["refunded"], 400);
    assert_eq!(server.count().await, 2);
}

#[tokio::test]
async fn a_sqlite_file_that_another_program_has_locked_is_waited_for_and_then_told() {
    let spot = Spot::sqlite(None);
    let server = spot.start(&[]).await;
    server.pay("a").answer().await.assert_paid(1);
    let mut other = SqliteConnection::connect(spot.database()).await.unwrap();
    let lock = other.begin_with("begin immediate").await.unwrap();
    assert!(server.pay("a").answer().await.is_replay());
    let refused = server.pay("b").answer().await;
    refused.problem(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    lock.rollback().await.unwrap();
    assert_eq!(server.pay("b").answer().await.status, 201);
    assert!(server.pay("b").answer().await.is_replay());
    assert_eq!(server.count().await, 2);
}

/// A server blocks its thread, and the clients are to go on meanwhile.
async fn off_the_runtime<S: Send + 'static>(mut server: S, what: fn(&mut S)) -> S {
    let done = tokio::task::spawn_blocking(move || {
        what(&mut server);
        server
    });
    done.await.unwrap()
}

/// What statements linger at until a test lets them go on.
struct Gate(PgConnection);

impl Gate {
    /// A closed one. Whoever calls `linger()` in this database waits at it, in a trigger.
    async fn closed(database: &Database) -> Self {
        database.run(
            "create function linger() returns trigger language plpgsql as \
               'begin perform pg_advisory_xact_lock_shared(1); return new; end'",
        );
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        query("select pg_advisory_lock(1)").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn open(self) {
        self.0.close().await.unwrap();
    }
}

/// Waits until as many statements that begin so are at work.
async fn until_at_work(database: Database, statement: &str, count: usize) -> Database {
    let at_work = format!(
        "select count(*) from pg_stat_activity where datname = '{}' \
           and wait_event = 'advisory' and query ilike '{statement}%'",
        database.name()
    );
    let looked = tokio::task::spawn_blocking(move || {
        let all = count.to_string();
        until("statements that linger", || (database.run(&at_work) == all).then_some(()));
        database
    });
    looked.await.unwrap()
}

/// CASES 26: the commit happens and its answer gets lost. Only the store knows, and is asked.
async fn a_lost_answer_of_a_commit(how: Answers) {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let proxy = Proxy::new(address(database.url()));
    let server = Spot::at(&proxy.url(database.url()), None).start(&[]).await;
    // Checked at the commit, which therefore can be met.
    let gate = Gate::closed(&database).await;
    database.run(
        "create constraint trigger linger after insert on payments \
           deferrable initially deferred for each row execute function linger()",
    );
    let sent = server.pay("a").send();
    let database = until_at_work(database, "commit", 1).await;
    proxy.lose_answers(1, how);
    gate.open().await;
    let first = sent.answer().await;
    first.assert_paid(1);
    assert_eq!(proxy.lost_answers(), 1);
    let retry = server.pay("a").answer().await;
    assert!(retry.is_replay());
    assert_eq!(retry.body, first.body);
    assert_eq!(server.count().await, 1);
    drop(database);
}

#[tokio::test]
async fn a_commit_whose_answer_is_cut_off_is_answered_as_what_it_is() {
    a_lost_answer_of_a_commit(Answers::Cut).await;
}

#[tokio::test]
async fn a_commit_whose_answer_never_comes_is_answered_as_what_it_is() {
    a_lost_answer_of_a_commit(Answers::Swallow).await;
}

/// Any answer may get lost, at any step.
#[tokio::test]
async fn a_postgres_whose_answers_get_lost_now_and_then_is_paid_once_each() {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let proxy = Proxy::new(address(database.url()));
    let server = Spot::at(&proxy.url(database.url()), None).start(&["--lease", "1s"]).await;
    let mut trickle = Trickle::to(&server);
    for round in 1..=20 {
        trickle.goes_on(3).await;
        proxy.lose_answers(2, Answers::Cut);
        while proxy.lost_answers() < 2 * round {
            // Fails where nobody is paid or even asks any more.
            trickle.goes_on(1).await;
        }
    }
    trickle.goes_on(10).await;
    assert_eq!(proxy.lost_answers(), 40);
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

/// A server that is gone without a word, as behind a failover: its connections stay open and silent.
#[tokio::test]
async fn connections_that_have_gone_silent_are_given_up() {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let proxy = Proxy::new(address(database.url()));
    let server = Spot::at(&proxy.url(database.url()), None).start(&["--lease", "1s"]).await;
    let mut trickle = Trickle::of_many_to(&server);
    trickle.goes_on(200).await;
    proxy.answers(Answers::Swallow);
    let ten_seconds = sleep(Duration::from_secs(10));
    tokio::join!(ten_seconds, trickle.is_refused());
    proxy.answers(Answers::Pass);
    trickle.goes_on(200).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

/// The same, in the middle of what the handlers do.
#[tokio::test]
async fn a_ledger_whose_connections_have_gone_silent_opens_others() {
    const CONNECTIONS: usize = 10;
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let proxy = Proxy::new(address(database.url()));
    let server = Spot::at(&proxy.url(database.url()), None).start(&["--store", "memory"]).await;
    let gate = Gate::closed(&database).await;
    database.run(
        "create trigger linger before insert on payments \
           for each row execute function linger()",
    );
    let sent: Vec<_> = (0..CONNECTIONS).map(|key| server.pay(&key.to_string()).send()).collect();
    let database = until_at_work(database, "insert", CONNECTIONS).await;
    proxy.answers(Answers::Swallow);
    gate.open().await;
    for refused in join_all(sent.into_iter().map(Sent::answer)).await {
        refused.problem(503);
    }
    proxy.answers(Answers::Pass);
    database.run("drop trigger linger on payments");
    let paid = (0..CONNECTIONS).map(|key| server.pay(&key.to_string()).answer());
    for paid in join_all(paid).await {
        paid.assert_paid(2);
    }
    assert_eq!(server.count().await, CONNECTIONS as u64);
}
