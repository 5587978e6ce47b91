use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
pub struct Payment {
    amount: u64,
}

fn main() {
    let _ = Payment { amount: 1 };
}
