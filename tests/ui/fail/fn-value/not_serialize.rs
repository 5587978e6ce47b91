use idempotent_runtime::{Error, Idempotency, idempotent_fn};

struct Shipment {
    id: u64,
}

#[idempotent_fn(key = order, runtime = idempotency)]
async fn ship(idempotency: &Idempotency, order: u64) -> Result<Shipment, Error> {
    Ok(Shipment { id: order })
}

fn main() {}
