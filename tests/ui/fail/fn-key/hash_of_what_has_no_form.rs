use idempotent_runtime::{Error, Idempotency, idempotent_fn};

struct Order(u64);

#[idempotent_fn(key = hash(order), runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: Order) -> Result<u64, Error> {
    Ok(order.0)
}

fn main() {}
