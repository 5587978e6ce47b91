#![deny(warnings)]
//! What an argument holds is held as long as the body runs, also where the body does not name it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::extract::State;
use idempotent_runtime::{Guarded, idempotent};

/// Counts as long as it lives.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

macro_rules! handler {
    ($name:ident $($option:tt)*) => {
        #[idempotent(key = header("Idempotency-Key") $($option)*)]
        async fn $name(
            State(count): State<Arc<AtomicUsize>>,
            _: Permit,
            _permit: Permit,
            State(_): State<Permit>,
            State((_first, _)): State<(Permit, Permit)>,
            _: State<Permit>,
        ) -> String {
            tokio::task::yield_now().await;
            count.load(Relaxed).to_string()
        }
    };
}
handler!(spawned);
handler!(inline, spawn = false);

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    macro_rules! check {
        ($name:ident) => {
            let count = Arc::default();
            let permit = || Permit::of(&count);
            let call = $name(
                State(Arc::clone(&count)),
                permit(),
                permit(),
                State(permit()),
                State((permit(), permit())),
                Guarded::unguarded(State(permit())),
            );
            assert_eq!(call.await.direct(), "6", "all are held while the body runs");
            assert_eq!(count.load(Relaxed), 0, "none is held any longer");
        };
    }
    check!(spawned);
    check!(inline);
}
