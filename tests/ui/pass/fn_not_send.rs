#![deny(warnings)]
//! Nothing has to be `Send` or `'static`.

use std::{cell::Cell, rc::Rc};

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

struct Local<'a>(&'a Cell<u32>);

impl<'a> Local<'a> {
    #[idempotent_fn(key = id, runtime = idempotency)]
    async fn next(&self, idempotency: &Idempotency, id: Rc<u64>) -> Result<u32, Error> {
        let cell: &'a Cell<u32> = self.0;
        let held = Rc::clone(&id);
        tokio::task::yield_now().await;
        cell.set(cell.get() + 1);
        drop(held);
        Ok(cell.get())
    }
}

async fn run() {
    let (idempotency, cell) = (Idempotency::new(MemoryStore::new()), Cell::new(0));
    for _ in 0..2 {
        assert_eq!(Local(&cell).next(&idempotency, Rc::new(1)).await.unwrap(), 1);
    }
    assert_eq!(cell.get(), 1);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
