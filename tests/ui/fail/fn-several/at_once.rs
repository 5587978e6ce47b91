use idempotent_runtime::{Error, Idempotency, idempotent_fn};

struct Consumer(Idempotency);

impl Consumer {
    #[idempotent_fn(ttl = "7x", key = "constant", wait = 10, attempt, runtim = self.0)]
    fn ship(&self, order: u64) -> Result<u64, Error> {
        Ok(order)
    }
}

// What was refused is there all the same: this is no error of its own.
fn ship(consumer: &Consumer) -> Result<u64, Error> {
    consumer.ship(7)
}

fn main() {}
