//! Attempts and pauses.

use std::time::{Duration, Instant};

use idempotent_sqlx::outbox::{OutboxDatabase, PublishError};

use crate::kit::{Broker, Kit, Running, Verdict, both, message};

async fn pauses_between_attempts_double<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|message| match message.attempt() {
        1..5 => Verdict::Refuse(PublishError::transient("not now")),
        _ => Verdict::Take,
    });
    let (first, longest) = (Duration::from_millis(40), Duration::from_millis(160));
    let relay = Running::start(kit.relay(&broker).backoff(first, longest).build().unwrap());
    kit.enqueue(message("a", 0)).await;
    kit.until("the message", |status| status.pending == 0).await;
    relay.stop().await;
    let asked = broker.asked("a/0");
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 4);
    for (pause, whole) in pauses.iter().zip([40, 80, 160, 160]) {
        assert!(*pause >= Duration::from_millis(whole) / 2, "{pauses:?}");
    }
}

async fn a_broker_that_is_away_costs_no_attempt<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|_| Verdict::Refuse(PublishError::unavailable("no route")));
    let relay = Running::start(kit.relay(&broker).max_attempts(1).build().unwrap());
    kit.enqueue_all((0..20).map(|number| message(&number.to_string(), 0))).await;
    broker.until("three looks", |broker| broker.asked("0/0").len() >= 3).await;
    let status = kit.outbox.status().await.unwrap();
    assert_eq!((status.pending, status.waiting, status.dead), (20, 0, 0));
    broker.becomes(|message| {
        assert_eq!(message.attempt(), 1);
        Verdict::Take
    });
    kit.until("all published", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.taken().len(), 20);
}

async fn a_broker_that_says_nothing_at_all_costs_no_attempt<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|_| Verdict::Hang);
    let timeout = Duration::from_millis(50);
    let relay = kit.relay(&broker).max_attempts(1).publish_timeout(timeout).build().unwrap();
    let relay = Running::start(relay);
    kit.enqueue_all([message("a", 0), message("b", 0)]).await;
    broker.until("two looks", |broker| broker.asked("a/0").len() >= 2).await;
    assert_eq!(kit.outbox.status().await.unwrap().dead, 0);
    broker.becomes(|_| Verdict::Take);
    kit.until("both published", |status| status.pending == 0).await;
    relay.stop().await;
}

async fn a_message_that_hangs_alone_is_given_up<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|message| match message.partition() {
        "poison" => Verdict::Hang,
        _ => Verdict::Take,
    });
    let timeout = Duration::from_millis(100);
    let relay = kit.relay(&broker).max_attempts(2).publish_timeout(timeout).build().unwrap();
    let relay = Running::start(relay);
    kit.enqueue(message("poison", 0)).await;
    let deadline = Instant::now() + crate::kit::LONG;
    let mut number = 0;
    while kit.outbox.status().await.unwrap().dead == 0 {
        assert!(Instant::now() < deadline);
        kit.enqueue(message("well", number)).await;
        number += 1;
        broker.until_taken(number).await;
    }
    relay.stop().await;
    let letters = kit.outbox.dead_letters(10).await.unwrap();
    assert!(letters[0].error.contains("did not acknowledge"), "{letters:?}");
}

async fn a_publisher_that_panics_is_an_attempt<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|message| match message.attempt() {
        1 => Verdict::Panic,
        _ => Verdict::Take,
    });
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.enqueue(message("a", 0)).await;
    kit.until("the message", |status| status.pending == 0).await;
    relay.stop().await;
    assert_eq!(broker.asked("a/0").len(), 2);
}

async fn what_a_killed_relay_held_is_published_when_its_lease_ends<DB: OutboxDatabase>(
    kit: Kit<DB>,
) {
    let lease = Duration::from_millis(500);
    let build = |broker| kit.relay(broker).publish_timeout(lease / 2).lease(lease).build().unwrap();
    let silent = Broker::new(|_| Verdict::TakeSilently);
    let first = Running::start(build(&silent));
    kit.enqueue(message("a", 0)).await;
    silent.until_taken(1).await;
    first.kill().await;
    let killed = Instant::now();
    let broker = Broker::willing();
    let second = Running::start(build(&broker));
    broker.until_taken(1).await;
    assert!(killed.elapsed() < lease + Duration::from_secs(5), "bounded");
    second.stop().await;
    // Under the same id.
    assert_eq!((silent.taken(), broker.taken()), (vec!["a/0".to_owned()], vec!["a/0".to_owned()]));
}

async fn a_relay_that_stops_gives_its_slots_back<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::willing();
    let lease = Duration::from_hours(1);
    for number in 0..3 {
        let relay = Running::start(kit.relay(&broker).lease(lease).build().unwrap());
        kit.enqueue(message("a", number)).await;
        broker.until_taken(number + 1).await;
        relay.stop().await;
        assert_eq!(kit.outbox.status().await.unwrap().pending, 0, "marked before it stopped");
    }
}

async fn a_relay_that_stops_begins_nothing_new<DB: OutboxDatabase>(kit: Kit<DB>) {
    let broker = Broker::new(|_| Verdict::TakeSlowly(Duration::from_millis(100)));
    let relay = Running::start(kit.relay(&broker).build().unwrap());
    kit.enqueue_all((0..60).map(|number| message("a", number))).await;
    broker.until_taken(2).await;
    relay.stop().await;
    let taken = broker.taken().len();
    assert!(taken < 60);
    assert_eq!(kit.outbox.status().await.unwrap().pending, 60 - taken as u64, "each one marked");
}

async fn what_was_committed_is_published_at_once_where_the_relay_is_woken<DB: OutboxDatabase>(
    kit: Kit<DB>,
) {
    let broker = Broker::willing();
    let relay = kit.relay(&broker).poll_interval(Duration::from_hours(1)).build().unwrap();
    let relay = Running::start(relay);
    for number in 0..20 {
        kit.enqueue(message("a", number)).await;
        broker.until_taken(number + 1).await;
    }
    relay.stop().await;
}

both! {
    pauses_between_attempts_double
    a_broker_that_is_away_costs_no_attempt
    a_broker_that_says_nothing_at_all_costs_no_attempt
    a_message_that_hangs_alone_is_given_up
    a_publisher_that_panics_is_an_attempt
    what_a_killed_relay_held_is_published_when_its_lease_ends
    a_relay_that_stops_gives_its_slots_back
    a_relay_that_stops_begins_nothing_new
    what_was_committed_is_published_at_once_where_the_relay_is_woken
}
