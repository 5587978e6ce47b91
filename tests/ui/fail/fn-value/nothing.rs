use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = order, runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: u64) {
    drop(order);
}

fn main() {}
