//! The store contract, kept by `MemoryStore` in both of its forms.

use std::time::Duration;

use idempotent_runtime::{MemoryStore, OnFull};
use idempotent_testkit::{Capabilities, Clock, Harness};

struct Memory(MemoryStore);

impl Memory {
    fn new(on_full: OnFull) -> Self {
        Self(MemoryStore::builder().on_full(on_full).build())
    }
}

impl Harness for Memory {
    type Store = MemoryStore;
    const CLOCK: Clock = Clock::Paused;

    async fn store(&self) -> MemoryStore {
        self.0.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().isolated(true).precision(Duration::ZERO)
    }
}

mod refusing {
    use super::*;
    idempotent_testkit::conformance!(Memory::new(OnFull::Refuse));
}

mod evicting {
    use super::*;
    idempotent_testkit::conformance!(Memory::new(OnFull::Evict));
}
