use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = order, runtime = idempotency)]
fn ship(idempotency: &Idempotency, order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
