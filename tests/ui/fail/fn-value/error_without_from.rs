use idempotent_runtime::{Error, Idempotency, idempotent_fn};

struct NoCarrier;

#[idempotent_fn(key = order, runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: u64) -> Result<u64, NoCarrier> {
    Err(NoCarrier)
}

fn main() {}
