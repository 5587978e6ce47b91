use idempotent_runtime::idempotent_fn;

#[idempotent_fn(key = order, runtime = idempotency)]
struct Ship;

fn main() {}
