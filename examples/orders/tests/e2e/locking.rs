//! Changing an order: a version check instead of a key.

use http::StatusCode;

use crate::{client::Call, world::World};

const ORDER: &str = "/orders/1";

#[tokio::test]
async fn a_change_needs_the_version_that_was_seen() {
    let world = World::embedded();
    let orders = world.start(&["serve"]).await;
    orders.call(&Call::change(ORDER, 5).if_match("\"1\"")).await.problem(404);
    orders.call(&Call::order("a")).await.placed();

    orders.call(&Call::change(ORDER, 5)).await.problem(428);
    // What is no entity tag matches none.
    for stale in ["\"0\"", "\"2\"", "W/\"1\"", "1", "\"1"] {
        orders.call(&Call::change(ORDER, 5).if_match(stale)).await.problem(412);
    }
    let changed = orders.call(&Call::change(ORDER, 5).if_match("\"1\"")).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, Some("\"2\"")));
    assert_eq!(
        (&changed.json()["quantity"], &changed.json()["address"]),
        (&5.into(), &"2 Side Street".into())
    );
    assert_eq!(orders.call(&Call::get(ORDER)).await.body, changed.body);

    // Sent again it is stale, and does nothing.
    orders.call(&Call::change(ORDER, 5).if_match("\"1\"")).await.problem(412);
    assert_eq!(orders.call(&Call::get(ORDER)).await.header("etag"), Some("\"2\""));
    // One of several, and whichever there is.
    let listed = orders.call(&Call::change(ORDER, 6).if_match("\"9\", \"2\"")).await;
    assert_eq!(listed.header("etag"), Some("\"3\""));
    let any = orders.call(&Call::change(ORDER, 7).if_match("*")).await;
    assert_eq!(any.header("etag"), Some("\"4\""));
    orders.call(&Call::change(ORDER, 0).if_match("*")).await.problem(400);
}

/// Eight have seen the same version: one of them changes it.
async fn one_change_of_a_version_wins(world: &World) {
    let orders = [world.start(&["serve"]).await, world.start(&["serve"]).await];
    orders[0].call(&Call::order("a")).await.placed();
    for version in 1..=5 {
        let etag = format!("\"{version}\"");
        let changes = (0..8).map(|nth| {
            let call = Call::change(ORDER, nth + 1).if_match(&etag);
            let orders = &orders[nth as usize % 2];
            async move { orders.call(&call).await }
        });
        let answers = futures_util::future::join_all(changes).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!((won.len(), lost.len()), (1, 7));
        for answer in lost {
            answer.problem(412);
        }
        assert_eq!(orders[1].call(&Call::get(ORDER)).await.body, won[0].body);
    }
}

#[tokio::test]
async fn one_change_of_a_version_wins_in_sqlite() {
    one_change_of_a_version_wins(&World::embedded()).await;
}

#[tokio::test]
async fn one_change_of_a_version_wins_in_postgres() {
    let Some(world) = World::without_broker() else { return };
    one_change_of_a_version_wins(&world).await;
}

/// The version moves with the shipment, too.
#[tokio::test]
async fn a_shipped_order_is_not_changed() {
    let world = World::embedded();
    let orders = world.start(&[]).await;
    orders.call(&Call::order("a")).await.placed();
    world.settled(1).await;
    orders.call(&Call::change(ORDER, 5).if_match("\"1\"")).await.problem(412);
    orders.call(&Call::change(ORDER, 5).if_match("\"2\"")).await.problem(409);
    orders.call(&Call::change(ORDER, 5).if_match("*")).await.problem(409);
    world.settled(1).await;
}

/// What is shipped is what was ordered last.
#[tokio::test]
async fn a_change_before_the_shipment_is_what_is_shipped() {
    let Some(world) = World::real() else { return };
    let serve = world.start(&["serve"]).await;
    serve.call(&Call::order("a")).await.placed();
    serve.call(&Call::change(ORDER, 5).if_match("\"1\"")).await;
    let (_relay, _consumer) = (world.start(&["relay"]).await, world.start(&["consume"]).await);
    world.settled(1).await;
    assert_eq!(world.sql("select quantity, address from shipments"), "5|2 Side Street");
}
