//! SIGTERM and SIGINT: what has begun ends.

use std::time::Instant;

use tokio::net::TcpStream;

use crate::server::{PATIENCE, Server};

/// CASES 35: a graceful shutdown while a handler runs.
async fn answers_what_runs_and_exits_with_0(signal: &str) {
    let server = Server::start().await;
    let sent = server.pay("a").simulate("delay=1s").send();
    server.logged("simulated: delay", 1).await;
    server.signal(signal).await;
    server.logged("stopping", 1).await;
    sent.answer().await.assert_paid(1);
    let (status, log) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.last().unwrap().contains("stopped"), "{log:#?}");
}

#[tokio::test]
async fn sigterm_answers_what_runs_and_exits_with_0() {
    answers_what_runs_and_exits_with_0("TERM").await;
}

#[tokio::test]
async fn sigint_answers_what_runs_and_exits_with_0() {
    answers_what_runs_and_exits_with_0("INT").await;
}

/// CASES 35, 13: the handler of a client that has gone is waited for as well.
#[tokio::test]
async fn a_shutdown_waits_for_handlers_whose_clients_have_gone() {
    let server = Server::start().await;
    let sent = server.pay("a").simulate("delay=1s").send();
    server.logged("simulated: delay", 1).await;
    sent.hang_up();
    server.logged("not answered", 1).await;
    server.signal("TERM").await;
    let (status, log) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.iter().any(|line| line.contains("paid")), "{log:#?}");
}

#[tokio::test]
async fn a_shutdown_accepts_no_more_connections() {
    let server = Server::start().await;
    let sent = server.pay("a").simulate("delay=3s").send();
    server.logged("simulated: delay", 1).await;
    server.signal("TERM").await;
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(server.address()).await.is_ok() {
        assert!(Instant::now() < until);
    }
    // Not because it has ended: the payment still runs.
    assert!(!server.log().concat().contains("paid"));
    sent.answer().await.assert_paid(1);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_a_shutdown_up() {
    let server = Server::start().await;
    let _idle = TcpStream::connect(server.address()).await.unwrap();
    server.get("/health").answer().await;
    server.signal("TERM").await;
    let (status, log) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.last().unwrap().contains("stopped"), "{log:#?}");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let server = Server::start_with(&["--drain", "100ms"]).await;
    let sent = server.pay("a").simulate("delay=1m").send();
    server.logged("simulated: delay", 1).await;
    server.signal("TERM").await;
    let (status, log) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    let left = |line: &String| line.contains("stopped before everything had ended left=1");
    assert!(log.iter().any(left), "{log:#?}");
    sent.hang_up();
}
