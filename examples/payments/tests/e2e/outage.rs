//! Databases and stores that are killed, hang, or whose answers get lost.

use std::time::Duration;

use futures_util::future::join_all;
use idempotent_servers::{Answers, PostgresServer, Proxy, RedisServer, until};

use idempotent_sqlx::sqlx::{Connection as _, SqliteConnection};
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

/// CASES 26: the commit happens and its answer gets lost. Only the store knows, and is asked.
async fn a_lost_answer_of_a_commit(how: Answers) {
    let Some(databases) = PostgresServer::shared() else { return };
    let database = databases.database();
    let proxy = Proxy::new(address(database.url()));
    let server = Spot::at(&proxy.url(database.url()), None).start(&[]).await;
    // Checked at the commit, which therefore takes long enough to be met.
    database.run(
        "create function linger() returns trigger language plpgsql as \
           'begin perform pg_sleep(0.5); return null; end'; \
         create constraint trigger linger after insert on payments \
           deferrable initially deferred for each row execute function linger()",
    );
    let sent = server.pay("a").send();
    let (proxy, database) = tokio::task::spawn_blocking(move || {
        let commits = format!(
            "select count(*) from pg_stat_activity where datname = '{}' \
               and state = 'active' and query ilike 'commit%'",
            database.name()
        );
        until("a commit that lingers", || (database.run(&commits) == "1").then_some(()));
        proxy.lose_answers(1, how);
        (proxy, database)
    })
    .await
    .unwrap();
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
    for _ in 0..20 {
        trickle.goes_on(3).await;
        proxy.lose_answers(2, Answers::Cut);
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
    database.run(
        "create function linger() returns trigger language plpgsql as \
           'begin perform pg_sleep(1); return new; end'; \
         create trigger linger before insert on payments \
           for each row execute function linger()",
    );
    let sent: Vec<_> = (0..CONNECTIONS).map(|key| server.pay(&key.to_string()).send()).collect();
    let (proxy, database) = tokio::task::spawn_blocking(move || {
        let inserts = format!(
            "select count(*) from pg_stat_activity where datname = '{}' \
               and state = 'active' and query ilike 'insert%'",
            database.name()
        );
        let all = CONNECTIONS.to_string();
        until("inserts that linger", || (database.run(&inserts) == all).then_some(()));
        proxy.answers(Answers::Swallow);
        (proxy, database)
    })
    .await
    .unwrap();
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
