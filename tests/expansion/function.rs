//! A method with every option that a function has.

use idempotent_runtime::{Error, Idempotency, idempotent_fn};

pub struct Consumer {
    idempotency: Idempotency,
}

pub struct Paid {
    id: u64,
    tenant: String,
    amount: u64,
    currency: String,
}

impl Consumer {
    /// Doc comments, visibility and other attributes stay.
    #[idempotent_fn(
        key = event.id,
        ttl = "7d",
        scope = event.tenant,
        fingerprint = (&event.amount, &event.currency),
        lease = "30s",
        wait = "1.5s",
        attempt = attempt,
        on_abandoned = halt,
        on_store_error = bypass,
        on_record_failure = withhold,
        operation = "ship_order",
        runtime = self.idempotency,
    )]
    pub async fn on_paid(&self, event: Paid) -> Result<String, Error> {
        let Paid { id, .. } = event;
        Ok(format!("shipped {id} in attempt {}", attempt.number()))
    }
}

#[idempotent_fn(key = hash(names), runtime = idempotency)]
async fn greet(idempotency: &Idempotency, names: &[String]) -> Result<usize, Error> {
    Ok(names.len())
}

pub fn main() {
    let _ = Consumer::on_paid;
    let _ = greet;
}
