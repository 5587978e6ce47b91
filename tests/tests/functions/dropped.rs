//! Futures that are dropped or not polled: a function lives in its caller's task.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use idempotent_runtime::{Error, KeyState, MemoryStore, OnAbandoned};
use idempotent_tests::{Fault, Faulty, Gate, Step};
use tokio::time::{Instant, advance};

use crate::support::{
    Consumer, LEASE, WAIT, Work, all_wait, event, faulty, other, settings, shipment,
};

#[tokio::test(start_paused = true)]
async fn a_call_dropped_during_its_claim_leaves_the_key_free() {
    let (store, work, gate) = (faulty(), Work::ships(), Gate::new());
    let consumer = Consumer::new(store.clone(), &work);
    store.next(Step::Acquire, Fault::Hold(gate.clone()));
    let gone = consumer.begin("e").await;
    gate.reached().await;
    gone.give_up().await;
    gate.open();
    all_wait().await;
    assert!(matches!(consumer.state("e").await, KeyState::Released { attempt: 1, .. }));
    assert_eq!(work.runs(), 0);
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_half_way_is_abandoned_when_its_lease_lapses() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    for consumer in [Consumer::new(MemoryStore::new(), &work), Consumer::new(faulty(), &work)] {
        let begun = Instant::now();
        let gone = consumer.begin("e").await;
        gate.reached().await;
        gone.give_up().await;
        all_wait().await;
        assert!(matches!(consumer.state("e").await, KeyState::Leased { attempt: 1, .. }));
        let left = LEASE.checked_sub(begun.elapsed()).unwrap();
        advance(left.checked_sub(Duration::from_nanos(1)).unwrap()).await;
        assert!(matches!(consumer.state("e").await, KeyState::Leased { .. }));
        advance(Duration::from_nanos(1)).await;
        assert!(matches!(consumer.state("e").await, KeyState::Abandoned { attempt: 1, .. }));
        gate.open();
        let nth = work.runs() + 1;
        assert_eq!(consumer.call("e").await.unwrap(), shipment(nth, 2));
        gate.reached().await;
    }
}

/// CASES 52: the effect may have happened before the drop.
#[tokio::test(start_paused = true)]
async fn under_halt_a_call_dropped_half_way_is_abandoned_at_once() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    let consumer = Consumer::with(settings(faulty()).on_abandoned(OnAbandoned::Halt), &work);
    let gone = consumer.begin("e").await;
    gate.reached().await;
    gone.give_up().await;
    all_wait().await;
    assert!(matches!(consumer.state("e").await, KeyState::Abandoned { attempt: 1, .. }));
    assert_eq!(consumer.call("e").await.unwrap_err().guard().code(), "outcome_unknown");
}

/// CASES 13: whenever the caller goes away, the effect happens once; at worst the lease has to lapse.
#[tokio::test(start_paused = true)]
async fn a_caller_may_go_away_at_any_moment() {
    for polls in 0..16 {
        let work = Work::new(|run| async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            run.shipped()
        });
        let stores = [settings(faulty()), settings(faulty())];
        for settings in stores {
            let consumer = Consumer::with(settings.wait(LEASE * 2), &work);
            let id = format!("{polls}");
            {
                let event = event(&id);
                let mut call = pin!(consumer.ship(&event));
                for _ in 0..polls {
                    let poll = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                    if poll.is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            let value = consumer.call(&id).await.unwrap();
            assert_eq!(consumer.call(&id).await.unwrap(), value);
        }
    }
}

/// CASES 35, 53: a function that runs is waited for, and what came too late is refused.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_functions_and_refuses_new_ones() {
    let gate = Gate::new();
    let work = Work::gated(&gate);
    let consumer = Consumer::new(MemoryStore::new(), &work);
    let running = consumer.begin("e").await;
    gate.reached().await;
    let draining = tokio::spawn({
        let runtime = consumer.runtime.clone();
        async move { runtime.drain(Duration::from_mins(1)).await }
    });
    all_wait().await;
    let error = consumer.call("late").await.unwrap_err().guard();
    assert_eq!((error.code(), error.retryable()), ("draining", true));
    assert!(!draining.is_finished());
    gate.open();
    assert_eq!(running.outcome().await.unwrap(), shipment(1, 1));
    assert_eq!(draining.await.unwrap(), 0);
    assert_eq!(consumer.call("e").await.unwrap(), shipment(1, 1), "replays are served");
}

/// A call whose claim is answered while nobody polls it, and the gate that holds that answer.
fn parked(store: &Faulty) -> Gate {
    let gate = Gate::new();
    store.next(Step::Acquire, Fault::HoldAnswer(gate.clone()));
    gate
}

async fn polled_once<F: Future>(call: &mut Pin<Box<F>>) {
    assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_again_after_its_lease_was_lost_does_not_run_under_it() {
    let (store, work) = (faulty(), Work::ships());
    let lost = other(&store);
    let gate = parked(&lost);
    lost.always(Step::Renew, Fault::Unreachable);
    let consumer = Consumer::new(lost, &work);
    let mut call = Box::pin(consumer.call("e"));
    polled_once(&mut call).await;
    gate.reached().await;
    gate.open();
    tokio::time::sleep(2 * LEASE).await;
    let elsewhere = Consumer::new(store, &work);
    assert_eq!(elsewhere.call("e").await.unwrap(), shipment(1, 2));
    assert_eq!(call.await.unwrap(), shipment(1, 2));
    assert_eq!(work.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_a_call_that_nobody_polls_waits_as_long_as_it_may() {
    let (store, work) = (faulty(), Work::ships());
    let gate = parked(&store);
    let consumer = Consumer::new(store, &work);
    let mut call = Box::pin(consumer.call("e"));
    polled_once(&mut call).await;
    gate.reached().await;
    gate.open();
    let begun = Instant::now();
    let error = consumer.call("e").await.unwrap_err().guard();
    assert!(matches!(error, Error::InProgress { .. }), "{error:?}");
    assert_eq!(begun.elapsed(), WAIT);
    assert_eq!(call.await.unwrap(), shipment(1, 1));
    assert_eq!(work.runs(), 1);
}

/// Of one that waits there is nothing left when its process ends: no lease, no outcome.
#[tokio::test(start_paused = true)]
async fn drain_does_not_count_those_who_only_wait() {
    let gate = Gate::new();
    let consumer = Consumer::new(MemoryStore::new(), &Work::gated(&gate));
    let first = consumer.begin("e").await;
    gate.reached().await;
    let waiting = consumer.begin("e").await;
    all_wait().await;
    assert_eq!(consumer.runtime.drain(Duration::from_millis(1)).await, 1);
    gate.open();
    assert_eq!(first.outcome().await.unwrap(), shipment(1, 1));
    assert_eq!(waiting.outcome().await.unwrap(), shipment(1, 1));
}
