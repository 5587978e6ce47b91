use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = hash(order, customer), runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: u64, customer: u64) -> Result<u64, Error> {
    Ok(order + customer)
}

fn main() {}
