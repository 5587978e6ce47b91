//! Clients that go away in the middle.

use std::time::Instant;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    place::everywhere,
    server::{PATIENCE, Server},
};

everywhere![
    a_client_that_hangs_up_is_paid_for_once_and_its_retry_is_answered,
    a_payment_goes_on_after_its_client_has_gone,
    a_request_that_was_cut_off_claims_nothing,
];

/// CASES 13: a client that hangs up cancels neither the handler nor the record.
async fn a_client_that_hangs_up_is_paid_for_once_and_its_retry_is_answered(server: Server) {
    let sent = server.pay("a").simulate("delay=1s").send();
    server.logged("simulated: delay", 1).await;
    sent.hang_up();
    server.logged("not answered", 1).await;
    assert_eq!(server.count().await, 0);

    let retry = server.pay("a").answer().await;
    retry.assert_paid(1);
    assert!(retry.is_replay());
    assert_eq!(server.count().await, 1);
}

/// CASES 13: also when nobody is waiting when it ends.
async fn a_payment_goes_on_after_its_client_has_gone(server: Server) {
    let sent = server.pay("a").simulate("delay=300ms").send();
    server.logged("simulated: delay", 1).await;
    sent.hang_up();
    server.logged("paid", 1).await;
    assert!(server.pay("a").answer().await.is_replay());
    assert_eq!(server.count().await, 1);
}

/// CASES 37: a body that ends too early is no request.
async fn a_request_that_was_cut_off_claims_nothing(server: Server) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /payments HTTP/1.1\r\nHost: payments\r\nIdempotency-Key: a\r\n\
                Content-Type: application/json\r\nContent-Length: 35\r\n\r\n{\"amount\": 1000,";
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    server.pay("a").answer().await.assert_paid(1);
    assert_eq!(server.count().await, 1);
}

/// CASES 54: handlers whose clients have hung up are bounded; what is over is told to come back, and
/// nothing else suffers.
#[tokio::test]
async fn connecting_and_hanging_up_does_not_start_unlimited_handlers() {
    let server = Server::start().await;
    let until = Instant::now() + PATIENCE;
    let mut started = 0;
    let refused = loop {
        let sent: Vec<_> = (started..started + 64)
            .map(|key| server.pay(&format!("hung-{key}")).simulate("delay=1m").send())
            .collect();
        started += sent.len();
        // A handler whose client has gone before it began does not begin, so hang up only after
        // another request was answered: by then, most have begun.
        let probe = server.pay(&format!("probe-{started}")).answer().await;
        if probe.status != 201 {
            break probe;
        }
        sent.into_iter().for_each(crate::client::Sent::hang_up);
        assert!(Instant::now() < until, "{started} handlers were started");
    };
    assert!(started >= 1024, "{started} handlers were started");
    refused.problem(503);
    assert_eq!(refused.json()["code"], "too_many_running");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.get("/health").answer().await.status, 200);
}
