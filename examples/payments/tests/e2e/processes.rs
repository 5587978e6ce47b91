//! Several processes on one database are one service.

use futures_util::future::join_all;

use crate::{
    place::{Spot, wherever_there_are_several},
    server::Server,
};

wherever_there_are_several![
    three_processes_pay_once_and_give_one_answer,
    what_one_process_has_recorded_the_others_replay,
    a_key_belongs_to_one_request_in_all_processes,
    processes_that_start_at_once_do_not_stumble_over_each_other,
];

async fn several(spot: &Spot, count: usize) -> Vec<Server> {
    join_all((0..count).map(|_| spot.start(&[]))).await
}

/// CASES 8: duplicates on different processes at once.
async fn three_processes_pay_once_and_give_one_answer(spot: Spot) {
    const KEYS: usize = 8;
    let servers = several(&spot, 3).await;
    let sent: Vec<Vec<_>> = (0..KEYS)
        .map(|key| {
            let eight_each = servers.iter().flat_map(|server| (0..8).map(move |_| server));
            eight_each.map(|server| server.pay(&key.to_string()).send()).collect()
        })
        .collect();
    for duplicates in sent {
        let (mut bodies, mut replays) = (Vec::new(), 0);
        for duplicate in duplicates {
            let answer = duplicate.answer().await;
            answer.assert_paid(1);
            replays += usize::from(answer.is_replay());
            bodies.push(answer.body);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        assert_eq!(replays, bodies.len() - 1);
    }
    for server in servers {
        assert_eq!(server.count().await, KEYS as u64);
    }
}

async fn what_one_process_has_recorded_the_others_replay(spot: Spot) {
    let servers = several(&spot, 2).await;
    let first = servers[0].pay("a").answer().await;
    first.assert_paid(1);
    let replay = servers[1].pay("a").answer().await;
    assert!(replay.is_replay());
    assert_eq!((replay.status, replay.body), (first.status, first.body));

    let refund = |server: &Server| {
        server.post("/payments/1/refund").key("b").json(r#"{"amount": 400}"#).send()
    };
    let (one, other) = (refund(&servers[1]), refund(&servers[0]));
    let (one, other) = (one.answer().await, other.answer().await);
    assert_eq!(one.json()["refunded"], 400);
    assert_eq!(one.body, other.body);
    let payment = servers[0].get("/payments/1").answer().await;
    assert_eq!(payment.json()["refunded"], 400);
}

async fn a_key_belongs_to_one_request_in_all_processes(spot: Spot) {
    let servers = several(&spot, 2).await;
    let running = servers[0].pay("a").simulate("delay=500ms").send();
    servers[0].logged("simulated: delay", 1).await;
    let other =
        || servers[1].post("/payments").key("a").json(r#"{"amount": 1, "currency": "USD"}"#);
    let while_running = other().answer().await;
    running.answer().await.assert_paid(1);
    for answer in [while_running, other().answer().await] {
        answer.problem(422);
        assert_eq!(answer.json()["code"], "key_reused");
    }
    assert_eq!(servers[1].count().await, 1);
}

async fn processes_that_start_at_once_do_not_stumble_over_each_other(spot: Spot) {
    let servers = several(&spot, 6).await;
    for (at, server) in servers.iter().enumerate() {
        server.pay(&at.to_string()).answer().await.assert_paid(1);
    }
    assert_eq!(servers[0].count().await, 6);
}
