//! The suite itself is tested: stores with one flaw each, and which check catches it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test
// One arm for each flaw, in the place that it breaks.
#![allow(clippy::cast_possible_truncation, clippy::match_same_arms, clippy::too_many_lines)]

mod caught;
mod codec;
mod flaw;
mod report;
mod row;
mod store;

use std::{sync::Arc, time::Duration};

use idempotent_runtime::StorageKey;
use idempotent_testkit::{Capabilities, Clock, Garbage, Harness};

use crate::{
    flaw::Flaw,
    store::{Backend, Broken},
};

struct Flawed {
    backend: Arc<Backend>,
    flaw: Flaw,
}

impl Flawed {
    fn new(flaw: Flaw) -> Self {
        Self { backend: Backend::new(), flaw }
    }
}

impl Harness for Flawed {
    type Store = Broken;
    const CLOCK: Clock = Clock::Paused;

    async fn store(&self) -> Broken {
        Broken::new(&self.backend, self.flaw)
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        self.backend.corrupt(key, garbage)
    }

    fn capabilities(&self) -> Capabilities {
        // As hard as by default where a race is what has to be seen.
        let keys = if self.flaw.is_a_race() { 1000 } else { 100 };
        Capabilities::default().isolated(true).precision(Duration::ZERO).races(16, keys)
    }
}

/// The same store by the real clock: no check may depend on time that stands still.
struct InRealTime(Flawed);

impl Harness for InRealTime {
    type Store = Broken;

    async fn store(&self) -> Broken {
        self.0.store().await
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        self.0.corrupt(key, garbage).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().isolated(true).races(8, 40)
    }
}

/// The same store by a clock of its own.
struct ByHand(Arc<Backend>);

impl Harness for ByHand {
    type Store = Broken;
    const CLOCK: Clock = Clock::Manual;

    async fn store(&self) -> Broken {
        Broken::new(&self.0, Flaw::None)
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        self.0.corrupt(key, garbage)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().isolated(true).precision(Duration::ZERO).races(8, 40)
    }
}

mod by_hand {
    use super::*;
    idempotent_testkit::conformance!(ByHand(Backend::by_hand()));
}

mod in_real_time {
    use super::*;
    idempotent_testkit::conformance!(InRealTime(Flawed::new(Flaw::None)));
}

mod without_a_flaw {
    use super::*;
    idempotent_testkit::conformance!(Flawed::new(Flaw::None));
}
