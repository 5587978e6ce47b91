//! What an operator sees. One test, because the recorder is the process's.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_sqlx::outbox::PublishError;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_global_recorder,
};

use crate::kit::{Broker, Running, Verdict, message};

/// The numbers of each outbox, by `name{outbox}`.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Numbers {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let label = key.labels().next().unwrap();
        assert_eq!(label.key(), "outbox");
        let name = format!("{}{{{}}}", key.name(), label.value());
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn counter(&self, name: &str) -> u64 {
        let numbers = self.0.lock().unwrap();
        numbers.get(name).map_or(0, |number| number.load(Ordering::SeqCst))
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.counter(name))
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_and_counts_are_metrics() {
    let numbers = Numbers::default();
    set_global_recorder(numbers.clone()).ok().unwrap();
    let Some(kit) = crate::kit::sqlite().await else { return };
    let outbox = kit.outbox.clone().with_name("measured").unwrap();
    outbox.migrate().await.unwrap();
    let broker = Broker::new(|message| match (message.partition(), message.attempt()) {
        ("dead", _) => Verdict::Refuse(PublishError::permanent("never")),
        ("late", 1) => Verdict::Refuse(PublishError::transient("not now")),
        _ => Verdict::Take,
    });
    let relay = outbox.relay_builder(broker.clone()).backoff(Duration::from_mins(1), Duration::MAX);
    let relay = relay.poll_interval(Duration::from_millis(10));
    let relay = Running::start(relay.report_interval(Duration::from_millis(20)).build().unwrap());
    let mut transaction = kit.pool.begin().await.unwrap();
    for partition in ["a", "b", "c", "dead", "late"] {
        outbox.enqueue(&mut transaction, message(partition, 0)).await.unwrap();
    }
    transaction.commit().await.unwrap();
    outbox.wake();
    let seen = || {
        let counter =
            |name| numbers.counter(&format!("idempotency_outbox_{name}_total{{measured}}"));
        let gauge = |name| numbers.gauge(&format!("idempotency_outbox_{name}{{measured}}"));
        (
            (counter("published"), counter("failed")),
            (gauge("pending"), gauge("dead")),
            gauge("lag_seconds"),
        )
    };
    let deadline = std::time::Instant::now() + crate::kit::LONG;
    loop {
        let (counters, gauges, lag) = seen();
        // The message that waits is the lag.
        if counters == (3, 2) && gauges == (1.0, 1.0) && lag > 0.0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{:?}", seen());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.stop().await;
}
