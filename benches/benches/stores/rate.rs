//! Windows of load.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Tasks that each have one call under way.
pub(crate) const CLIENTS: usize = 32;

/// Calls per second while [`CLIENTS`] tasks do one after the other for `window`.
pub(crate) async fn rate<C, F>(window: Duration, call: C) -> f64
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let begin = Instant::now();
    let client = |call: C| async move {
        let mut done = 0_u32;
        while begin.elapsed() < window {
            call().await;
            done += 1;
        }
        done
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(call.clone()))).collect();
    let mut done = 0;
    for client in clients {
        match client.await {
            Ok(calls) => done += calls,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    f64::from(done) / begin.elapsed().as_secs_f64()
}
