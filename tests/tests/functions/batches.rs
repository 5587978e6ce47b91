//! Batches: partial failure, told of each message.

use std::{
    cell::{Cell, RefCell},
    future::{pending, ready},
    time::Duration,
};

use idempotent_runtime::{BatchFailure, Error, MemoryStore, batch};
use idempotent_tests::Gate;
use tokio::time::{Instant, sleep};

use crate::support::{
    Consumer, Event, ShipError, Work, all_wait, event, faulty, in_time, settings, shipment,
};

#[tokio::test(start_paused = true)]
async fn one_that_fails_and_one_that_panics_stop_nothing_else() {
    let report = batch((0..6).enumerate(), 2, async |n: u32| match n {
        1 => Err("no"),
        2 => panic!("message {n}"),
        4 => panic!("constant"),
        _ => Ok(n * 10),
    })
    .await;
    assert_eq!(report.succeeded, [(0, 0), (3, 30), (5, 50)]);
    let panicked = |text: &str| BatchFailure::Panicked(text.into());
    let failed =
        [(1, BatchFailure::Failed("no")), (2, panicked("message 2")), (4, panicked("constant"))];
    assert_eq!(report.failed, failed);
    assert!(!report.is_complete());
    assert_eq!(report.failed_ids().copied().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(report.failed[0].1.error(), Some(&"no"));
    assert_eq!(report.failed[1].1.to_string(), "handling the message panicked: message 2");
}

/// A panic before there is a future, and one that says nothing.
#[tokio::test]
async fn whatever_panics_is_a_failure_of_its_message() {
    let report = batch([("a", 0), ("b", 1), ("c", 2)], 3, |n| {
        assert!(n != 0, "early");
        async move {
            if n == 1 {
                std::panic::panic_any(5);
            }
            Ok::<_, Error>(n)
        }
    })
    .await;
    assert_eq!(report.succeeded, [("c", 2)]);
    assert_eq!(report.failed_ids().collect::<Vec<_>>(), [&"a", &"b"]);
}

/// The report has the order of the messages, whichever ends first.
#[tokio::test(start_paused = true)]
async fn no_more_than_the_concurrency_run_at_a_time_and_the_report_is_in_order() {
    for (concurrency, at_most, seconds) in [(0, 1, 55), (1, 1, 55), (4, 4, 18), (100, 10, 10)] {
        let (running, most, order) = (Cell::new(0), Cell::new(0), RefCell::new(Vec::new()));
        let begun = Instant::now();
        let report = batch((0..10_u64).map(|n| (n, n)), concurrency, async |n: u64| {
            order.borrow_mut().push(n);
            running.set(running.get() + 1);
            most.set(running.get().max(most.get()));
            sleep(Duration::from_secs(10 - n)).await;
            running.set(running.get() - 1);
            if n.is_multiple_of(2) { Ok(n) } else { Err(n) }
        })
        .await;
        assert_eq!(most.get(), at_most);
        assert!(begun.elapsed().as_secs() <= seconds, "{:?}", begun.elapsed());
        assert_eq!(*order.borrow(), (0..10).collect::<Vec<_>>());
        assert_eq!(report.succeeded, [(0, 0), (2, 2), (4, 4), (6, 6), (8, 8)]);
        assert_eq!(report.failed_ids().copied().collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
    }
}

#[tokio::test]
async fn a_batch_without_messages_is_complete() {
    let report = batch(Vec::<(u8, u8)>::new(), 1, |_| ready(Ok::<(), ()>(()))).await;
    assert!(report.is_complete() && report.succeeded.is_empty());
}

/// The whole batch is delivered again because one of its messages failed: only that one runs.
#[tokio::test(start_paused = true)]
async fn a_batch_that_comes_again_runs_only_what_had_failed() {
    let work = Work::new(|run| async move {
        if run.nth == 2 { Err(ShipError::NoCarrier(2)) } else { run.shipped() }
    });
    let consumer = Consumer::new(MemoryStore::new(), &work);
    // The last is a repetition of the first, within the batch.
    let ids = ["a", "b", "c", "a"];
    let deliver = async || {
        let messages = ids.map(event).into_iter().enumerate();
        batch(messages, 1, async |event: Event| consumer.ship(&event).await).await
    };
    let first = deliver().await;
    assert_eq!(first.failed_ids().collect::<Vec<_>>(), [&1]);
    let again = deliver().await;
    assert!(again.is_complete());
    let (a, b, c) = (shipment(1, 1), shipment(4, 2), shipment(3, 1));
    assert_eq!(again.succeeded, [(0, a.clone()), (1, b), (2, c), (3, a)]);
    assert_eq!(work.runs(), 4);
}

/// Repetitions within a batch that run beside each other wait for one another.
#[tokio::test(start_paused = true)]
async fn a_message_that_stands_twice_in_a_batch_runs_once() {
    let gate = Gate::new();
    let consumer = Consumer::new(MemoryStore::new(), &Work::gated(&gate));
    let opens = async {
        gate.reached().await;
        all_wait().await;
        gate.open();
    };
    let deliver = batch([(0, "a"), (1, "a")], 8, async |id: &str| consumer.ship(&event(id)).await);
    let (report, ()) = tokio::join!(in_time(deliver), opens);
    assert_eq!(report.succeeded, [(0, shipment(1, 1)), (1, shipment(1, 1))]);
}

/// What the guard refuses is a failure like any other: the broker delivers it again.
#[tokio::test(start_paused = true)]
async fn what_is_in_progress_elsewhere_fails_and_the_rest_goes_on() {
    let (gate, store) = (Gate::new(), faulty());
    let elsewhere = Consumer::new(store.clone(), &Work::gated(&gate));
    let running = elsewhere.begin("a").await;
    gate.reached().await;
    let here = Consumer::with(settings(store).wait(Duration::ZERO), &Work::ships());
    let report =
        batch([("a", 0), ("b", 1)], 8, async |n: usize| here.ship(&event(["a", "b"][n])).await)
            .await;
    assert_eq!(report.succeeded, [("b", shipment(1, 1))]);
    let [("a", BatchFailure::Failed(ShipError::Guard(error)))] = &report.failed[..] else {
        panic!("{report:?}")
    };
    assert!(error.retryable());
    gate.open();
    running.outcome().await.unwrap();
}

/// Where it has to be `Send` it is.
#[tokio::test(start_paused = true)]
async fn a_batch_may_be_spawned_and_dropped() {
    let consumer = Consumer::new(MemoryStore::new(), &Work::new(|_| pending()));
    let messages = [(0, "a".to_owned())];
    let running = tokio::spawn(async move {
        batch(messages, 8, |id| {
            let consumer = &consumer;
            async move { consumer.ship(&event(&id)).await }
        })
        .await
    });
    all_wait().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}
