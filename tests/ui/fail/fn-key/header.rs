use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = header("Idempotency-Key"), scope = (header("X-Tenant"), order), runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: u64) -> Result<u64, Error> {
    Ok(order)
}

fn main() {}
