use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = order, ttl = "7d")]
async fn ship(idempotency: &Idempotency, order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
