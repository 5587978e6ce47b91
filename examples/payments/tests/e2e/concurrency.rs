//! Duplicates at the same time.

use crate::{place::everywhere, server::Server};

everywhere![
    many_keys_sent_by_eight_clients_each_are_paid_once_each,
    eight_at_once_are_one_payment_and_get_one_answer,
    waiting_duplicates_share_a_transient_answer,
];

async fn eight_at_once_are_one_payment_and_get_one_answer(server: Server) {
    let first = server.pay("a").simulate("delay=300ms").send();
    server.logged("simulated: delay", 1).await;
    let others: Vec<_> = (0..7).map(|_| server.pay("a").send()).collect();

    let first = first.answer().await;
    first.assert_paid(1);
    assert!(!first.is_replay());
    for other in others {
        let other = other.answer().await;
        assert!(other.is_replay());
        assert_eq!((other.status, other.body), (first.status, first.body.clone()));
    }
    assert_eq!(server.count().await, 1);
}

async fn many_keys_sent_by_eight_clients_each_are_paid_once_each(server: Server) {
    const KEYS: usize = 25;
    let sent: Vec<Vec<_>> = (0..KEYS)
        .map(|key| (0..8).map(|_| server.pay(&key.to_string()).send()).collect())
        .collect();
    for duplicates in sent {
        let mut bodies = Vec::new();
        for duplicate in duplicates {
            let answer = duplicate.answer().await;
            answer.assert_paid(1);
            bodies.push(answer.body);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]));
    }
    assert_eq!(server.count().await, KEYS as u64);
}

/// Those who wait for an attempt that fails are told how it failed; the next one runs.
async fn waiting_duplicates_share_a_transient_answer(server: Server) {
    let simulated = || server.pay("a").simulate("delay=300ms, fail-once=503");
    let first = simulated().send();
    server.logged("simulated: delay", 1).await;
    let second = simulated().send();
    let (first, second) = (first.answer().await, second.answer().await);
    first.problem(503);
    // The second came while the first ran, or else it ran itself.
    if second.status == 503 {
        assert!(!second.is_replay());
        assert_eq!(second.body, first.body);
        server.pay("a").answer().await.assert_paid(2);
    } else {
        second.assert_paid(2);
    }
    assert_eq!(server.count().await, 1);
}
