use idempotent_runtime::{Error, Idempotency, idempotent_fn};

trait Ships {
    #[idempotent_fn(key = order, runtime = idempotency)]
    async fn ship(&self, idempotency: &Idempotency, order: u64) -> Result<u64, Error>;
}

fn main() {}
