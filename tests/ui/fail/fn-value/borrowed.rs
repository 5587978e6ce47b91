use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = order, runtime = idempotency)]
async fn ship<'a>(idempotency: &Idempotency, order: &'a str) -> Result<&'a str, Error> {
    Ok(order)
}

fn main() {}
