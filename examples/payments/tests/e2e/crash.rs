//! Processes that are killed in the middle.

use tokio::sync::watch;

use crate::{
    place::{Place, Spot, wherever_there_are_several},
    trickle::Trickle,
};

wherever_there_are_several![
    another_process_takes_over_from_one_that_was_killed,
    the_answers_of_a_killed_process_are_replayed_by_the_next,
];

/// CASES 29: SIGKILL while a handler runs. Its lease runs out, and the process that has waited for it
/// goes on.
async fn another_process_takes_over_from_one_that_was_killed(spot: Spot) {
    let lease = ["--lease", "1s"];
    let (first, second) = (spot.start(&lease).await, spot.start(&lease).await);
    let lost = first.pay("a").simulate("delay=1m").send();
    first.logged("simulated: delay", 1).await;
    let waiting = second.pay("a").send();
    first.kill().await;
    lost.no_answer().await;
    waiting.answer().await.assert_paid(2);
    assert!(second.pay("a").answer().await.is_replay());
    assert_eq!(second.count().await, 1);
}

async fn the_answers_of_a_killed_process_are_replayed_by_the_next(spot: Spot) {
    let server = spot.start(&[]).await;
    let first = server.pay("a").answer().await;
    server.kill().await;
    let server = spot.start(&[]).await;
    let replay = server.pay("a").answer().await;
    assert!(replay.is_replay());
    assert_eq!((replay.status, replay.body), (first.status, first.body));
    assert_eq!(server.count().await, 1);
}

/// Wherever a kill falls between the effect and its answer: where both are in one transaction, each
/// key is paid once.
async fn a_service_that_is_killed_again_and_again_pays_once(place: Place) {
    let Some(spot) = Spot::new(place) else { return };
    let options = ["--lease", "300ms"];
    let mut server = spot.start(&options).await;
    let (sender, address) = watch::channel(server.address());
    let mut trickle = Trickle::to_mortals(address);
    for _ in 0..8 {
        trickle.goes_on(10).await;
        server.kill().await;
        server = spot.start(&options).await;
        sender.send(server.address()).unwrap();
    }
    trickle.goes_on(10).await;
    trickle.ends_with_one_payment_for_each_key(&server).await;
}

#[tokio::test]
async fn a_service_on_sqlite_that_is_killed_again_and_again_pays_once() {
    a_service_that_is_killed_again_and_again_pays_once(Place::Sqlite).await;
}

#[tokio::test]
async fn a_service_on_postgres_that_is_killed_again_and_again_pays_once() {
    a_service_that_is_killed_again_and_again_pays_once(Place::Postgres).await;
}
