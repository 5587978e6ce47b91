use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn create(name: &str) -> String {
    name.to_owned()
}

fn main() {}
