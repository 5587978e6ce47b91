//! Single answers of the server that are lost on their way: the call was applied, and nobody knows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use idempotent_runtime::KeyState;
use idempotent_servers::{Answers, Proxy};
use tokio::time::sleep;

use crate::{
    backend::Remote,
    support::{Handler, Process, assert_paid, assert_replays, failed, until},
};

over!(Redis, Postgres: a_lost_grant_is_asked_for_again,
    a_lost_completion_is_found_in_the_store,
    a_lost_release_frees_the_key);
over!(Postgres: connections_that_lead_nowhere_are_given_up);

/// How answers are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lost {
    /// One, and its connection breaks.
    Cut,
    /// All for a while, until the connection breaks.
    Silent,
}

const WAYS: [Lost; 2] = [Lost::Cut, Lost::Silent];

/// Loses the next answers of `proxy` in the way that a key says; none for other keys.
fn lose(proxy: &Arc<Proxy>, key: &str) {
    match WAYS.into_iter().find(|way| format!("{way:?}") == key) {
        Some(Lost::Cut) => proxy.lose_answers(1, Answers::Cut),
        Some(Lost::Silent) => {
            let (proxy, lost) = (Arc::clone(proxy), proxy.lost_answers());
            proxy.answers(Answers::Swallow);
            tokio::spawn(async move {
                sleep(Duration::from_millis(400)).await;
                until(async || proxy.lost_answers() > lost).await;
                proxy.answers(Answers::Pass);
                proxy.cut();
            });
        }
        None => {}
    }
}

/// CASES 31, 43.
async fn a_lost_grant_is_asked_for_again<B: Remote>(backend: B) {
    let (proxy, handler) = (Arc::new(backend.proxy()), Handler::pays());
    let process = Process::over(backend.connect_through(&proxy).await, &handler);
    process.pay("warm").await;
    for (n, way) in WAYS.into_iter().enumerate() {
        let (key, lost) = (format!("{way:?}"), proxy.lost_answers());
        lose(&proxy, &key);
        assert_paid(&process.pay(&key).await, n + 2, 1);
        assert!(proxy.lost_answers() > lost);
        assert!(process.pay(&key).await.is_replayed());
    }
}

async fn a_lost_completion_is_found_in_the_store<B: Remote>(backend: B) {
    let proxy = Arc::new(backend.proxy());
    let loses = Arc::clone(&proxy);
    let handler = Handler::new(move |run| {
        lose(&loses, &run.key);
        async move { run.paid() }
    });
    let process = Process::over(backend.connect_through(&proxy).await, &handler);
    let other = Process::new(&backend, &handler).await;
    process.pay("warm").await;
    for (n, way) in WAYS.into_iter().enumerate() {
        let (key, lost) = (format!("{way:?}"), proxy.lost_answers());
        let first = process.pay(&key).await;
        assert_paid(&first, n + 2, 1);
        assert!(proxy.lost_answers() > lost);
        assert_replays(&other.pay(&key).await, &first);
    }
    assert_eq!(handler.runs(), 3);
}

async fn a_lost_release_frees_the_key<B: Remote>(backend: B) {
    let proxy = Arc::new(backend.proxy());
    let loses = Arc::clone(&proxy);
    let handler = Handler::new(move |run| {
        let is_first = run.attempt.number() == 1;
        if is_first {
            lose(&loses, &run.key);
        }
        async move { if is_first { failed() } else { run.paid() } }
    });
    let process = Process::over(backend.connect_through(&proxy).await, &handler);
    let other = Process::new(&backend, &handler).await;
    process.pay("warm").await;
    for (n, way) in WAYS.into_iter().enumerate() {
        let (key, lost) = (format!("{way:?}"), proxy.lost_answers());
        assert_eq!(process.pay(&key).await.text(), "the bank is closed");
        assert!(proxy.lost_answers() > lost);
        until(|| async { matches!(other.state(&key).await, KeyState::Released { .. }) }).await;
        assert_paid(&other.pay(&key).await, 2 * n + 3, 2);
    }
}

/// As after a failover that nobody told the connections of: all of them are silent for ever.
async fn connections_that_lead_nowhere_are_given_up<B: Remote>(backend: B) {
    let (proxy, handler) = (backend.proxy(), Handler::pays());
    let process = Process::over(backend.connect_through(&proxy).await, &handler);
    process.pay("warm").await;
    proxy.lose_answers(30, Answers::Swallow);
    let sent: Vec<_> = (0..30).map(|n| process.begin(&format!("k{n}"))).collect();
    for sent in sent {
        let answer = sent.answer().await;
        assert!([201, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }
    // Whatever is silent now belongs to a connection of before.
    proxy.answers(Answers::Pass);
    let begin = Instant::now();
    until(|| async { process.pay("after").await.status == 201 }).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
