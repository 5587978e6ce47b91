#![deny(warnings)]
//! Under `#[async_trait]`, with patterns among the arguments.

use async_trait::async_trait;
use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

struct Event {
    id: u64,
    amount: u64,
}

#[async_trait]
trait Consumer: Send {
    async fn consume(&mut self, event: Event) -> Result<u64, Error>;
    async fn unpack(&self, event: Event, pair: (u64, String)) -> Result<String, Error>;
    async fn by_default(&self, id: &str) -> Result<String, Error>;
}

struct Sums {
    idempotency: Idempotency,
    sum: u64,
}

#[async_trait]
impl Consumer for Sums {
    #[idempotent_fn(key = event.id, fingerprint = event.amount, runtime = self.idempotency)]
    async fn consume(&mut self, event: Event) -> Result<u64, Error> {
        self.sum += event.amount;
        if self.sum > 100 {
            return Ok(100);
        }
        Ok(self.sum)
    }

    #[idempotent_fn(
        key = (id, name),
        scope = count,
        attempt = attempt,
        runtime = self.idempotency,
    )]
    async fn unpack(
        &self,
        Event { id, .. }: Event,
        (count, mut name): (u64, String),
    ) -> Result<String, Error> {
        name.push('!');
        Ok(format!("{id} {count} {name} {}", attempt.number()))
    }

    #[idempotent_fn(key = id, runtime = self.idempotency)]
    async fn by_default(&self, id: &str) -> Result<String, Error> {
        Ok(id.to_owned())
    }
}

async fn run() {
    let mut sums = Sums { idempotency: Idempotency::new(MemoryStore::new()), sum: 0 };
    let consumer: &mut dyn Consumer = &mut sums;
    let event = || Event { id: 1, amount: 5 };
    for _ in 0..2 {
        assert_eq!(consumer.consume(event()).await.unwrap(), 5);
        let unpacked = consumer.unpack(event(), (2, "a".into())).await.unwrap();
        assert_eq!(unpacked, "1 2 a! 1");
        assert_eq!(consumer.by_default("d").await.unwrap(), "d");
    }
    assert_eq!(sums.sum, 5);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
