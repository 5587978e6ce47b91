#![deny(warnings)]
//! Every option, in forms that are not the shortest.

use idempotent_runtime as renamed;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent_fn};

#[derive(serde::Serialize)]
struct Event {
    id: u64,
    tenant: Option<String>,
    amount: u64,
    currency: String,
}

struct Consumer {
    idempotency: Idempotency,
    salt: u8,
}

impl Consumer {
    #[idempotent_fn(
        key = { let id = &event.id; format!("{id}") },
        ttl = "7 days",
        scope = event.tenant,
        fingerprint = (&event.amount, event.currency),
        lease = "1min 30s",
        wait = "0s",
        attempt = r#try,
        on_abandoned = halt,
        on_store_error = bypass,
        on_record_failure = withhold,
        operation = "consume",
        runtime = (self.idempotency),
        crate = renamed,
    )]
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) async fn consume(&self, event: Event) -> Result<u32, renamed::Error> {
        Ok(r#try.number())
    }

    #[idempotent_fn(key = hash((&event, self.salt())), runtime = self.idempotency, ttl = "5min")]
    async fn by_content(&self, event: &Event) -> Result<u64, renamed::Error> {
        Ok(event.id)
    }

    fn salt(&self) -> u8 {
        self.salt
    }
}

async fn run() {
    let consumer = Consumer { idempotency: Idempotency::new(MemoryStore::new()), salt: 7 };
    let event = || Event { id: 1, tenant: None, amount: 2, currency: "EUR".into() };
    for _ in 0..2 {
        assert_eq!(consumer.consume(event()).await.unwrap(), 1);
        assert_eq!(consumer.by_content(&event()).await.unwrap(), 1);
    }
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
