//! A broker that delivers each message 1 to 5 times in random order, to 4 consumers of which each is
//! killed every second.
//!
//! `ORDERS_STORM_MESSAGES` and `ORDERS_STORM_SEED` make it larger and other; `benches/orders-storm.sh`
//! runs the large one.

use std::{
    env,
    time::{Duration, Instant},
};

use async_nats::jetstream::{Context, consumer::PullConsumer};
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Call, Client},
    process::PATIENCE,
    world::World,
};

const CONSUMERS: usize = 4;
const CLIENTS: usize = 16;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_has_its_effect_once() {
    let Some(world) = World::real() else { return };
    let messages = setting("ORDERS_STORM_MESSAGES", 1_000);
    let seed = setting("ORDERS_STORM_SEED", 20_261_122);
    let placing = Instant::now();
    place(&world, messages).await;
    println!("{messages} orders were placed and published in {:.1?}", placing.elapsed());

    let publishing = Instant::now();
    let copies = deliver_randomly(&world, seed).await;
    println!(
        "{copies} copies were given to the broker in {:.1?} (seed {seed})",
        publishing.elapsed()
    );

    let storm = Instant::now();
    let kills = kill_until_done(&world, messages).await;
    let (shipping, deliveries) = (storm.elapsed(), deliveries(&world).await);
    println!(
        "{messages} effects from {deliveries} deliveries ({copies} and {} again), {kills} SIGKILLs, \
         in {shipping:.1?}",
        deliveries - copies
    );
    assert!(kills >= 2 * CONSUMERS, "too short to be a storm: {kills} kills");
    world.settled(usize::try_from(messages).unwrap()).await;
    println!("{}", world.reconcile().await.1);
    let count = "select count(*), count(distinct order_id) from shipments";
    assert_eq!(world.sql(count), format!("{messages}|{messages}"));
}

/// Orders by HTTP, and their messages through the outbox and the relay.
async fn place(world: &World, messages: u64) {
    let quiet = ["--log", "warn"];
    let serve = world.start(&[&["serve"][..], &quiet].concat()).await;
    let relay = world.start(&[&["relay"][..], &quiet].concat()).await;
    let address = serve.address();
    let clients = (0..CLIENTS as u64).map(|client| async move {
        let mut connection = Client::new(address);
        for nth in (client..messages).step_by(CLIENTS) {
            connection.send(&Call::order(&format!("storm-{nth}"))).await.unwrap().placed();
        }
    });
    join_all(clients).await;
    while world.sql("select count(*) from idempotent.outbox where state <> 'published'") != "0" {
        sleep(Duration::from_millis(100)).await;
    }
    serve.stop().await;
    relay.stop().await;
    assert_eq!(world.stored().await, messages);
}

/// Takes from the broker what the relay has published, and gives it back 1 to 5 times each, shuffled,
/// and without message ids: so it drops none of them.
async fn deliver_randomly(world: &World, seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let payloads =
        world.sql("select convert_from(payload, 'UTF8') from idempotent.outbox order by seq");
    let mut copies: Vec<_> = payloads
        .lines()
        .flat_map(|payload| {
            let times = random.random_range(1..=5);
            std::iter::repeat_n(Bytes::from(payload.to_owned()), times)
        })
        .collect();
    copies.shuffle(&mut random);
    let context = world.jetstream().await;
    context.get_stream("ORDERS").await.unwrap().purge().await.unwrap();
    let count = copies.len() as u64;
    stream::iter(copies)
        .for_each_concurrent(256, |copy| async {
            let sent = context.publish("orders.placed", copy).await.unwrap();
            sent.await.unwrap();
        })
        .await;
    assert_eq!(world.stored().await, count);
    count
}

/// Runs consumers that are killed until every copy is acknowledged. Answers how many were.
async fn kill_until_done(world: &World, messages: u64) -> usize {
    let done = CancellationToken::new();
    let consumers = (0..CONSUMERS).map(|_| kill_again_and_again(world, &done));
    let watch = async {
        let until = Instant::now() + PATIENCE + Duration::from_millis(30 * messages);
        let context = world.jetstream().await;
        while !is_done(&context).await {
            assert!(Instant::now() < until, "{}", world.reconcile().await.1);
            sleep(Duration::from_millis(100)).await;
        }
        done.cancel();
    };
    let (kills, ()) = join(join_all(consumers), watch).await;
    kills.into_iter().sum()
}

/// A second from when it consumes: on a machine that is busy, a second from its start could be too
/// short for anything to be done at all.
async fn kill_again_and_again(world: &World, done: &CancellationToken) -> usize {
    let mut kills = 0;
    loop {
        let consumer = world.start(&["consume", "--in-flight", "8", "--log", "error"]).await;
        if timeout(Duration::from_secs(1), done.cancelled()).await.is_ok() {
            consumer.stop().await;
            return kills;
        }
        consumer.kill().await;
        kills += 1;
    }
}

/// Whether every copy is acknowledged. Before the first consumer there is nothing to ask.
async fn is_done(context: &Context) -> bool {
    let Ok(mut stream) = context.get_stream("ORDERS").await else { return false };
    let stored = stream.info().await.unwrap().state.last_sequence;
    let Ok(mut consumer) =
        stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("shipping").await
    else {
        return false;
    };
    let info = consumer.info().await.unwrap();
    info.num_pending == 0 && info.num_ack_pending == 0 && info.ack_floor.stream_sequence >= stored
}

async fn deliveries(world: &World) -> u64 {
    let context = world.jetstream().await;
    let stream = context.get_stream("ORDERS").await.unwrap();
    let mut consumer: PullConsumer = stream.get_consumer("shipping").await.unwrap();
    consumer.info().await.unwrap().delivered.consumer_sequence
}
