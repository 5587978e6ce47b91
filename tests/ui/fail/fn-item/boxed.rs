use std::pin::Pin;

use idempotent_runtime::{Error, Idempotency, idempotent_fn};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[idempotent_fn(key = id, runtime = runtime)]
fn ship(runtime: Idempotency, id: u64) -> BoxFuture<Result<u64, Error>> {
    Box::pin(async move { drop(runtime);
        Ok(id)
     })
}

fn main() {}
