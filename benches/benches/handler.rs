//! The handler through the `Router`'s service, no sockets: bare, fresh and replayed.
//!
//! `request` is what building a request alone costs; it is part of every other figure.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
    routing::RouterIntoService,
};
use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyExt as _;
use idempotent_benches::{App, BODY, PATH, bare, floor};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

fn request(key: u64) -> Request<Body> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", format!("00000000-0000-4000-8000-{key:012x}"))
        .body(Body::from(BODY));
    match request {
        Ok(request) => request,
        Err(error) => panic!("a request of constants is well-formed: {error}"),
    }
}

/// Sends one request and reads the whole answer.
async fn send(service: &mut RouterIntoService<Body>, key: u64) {
    let Ok(response) = service.call(request(key)).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    match response.into_body().collect().await {
        Ok(body) => drop(black_box(body.to_bytes())),
        Err(error) => panic!("the body of an answer is in memory: {error}"),
    }
}

/// `count` requests one after the other, with the keys `key(0)`, `key(1)`, …
///
/// The service is new for each sample, so that a store never holds more than one sample's keys.
/// Each of `primed` is sent once before the clock starts.
fn sample(
    runtime: &Runtime,
    router: Router,
    count: u64,
    primed: u64,
    key: impl Fn(u64) -> u64,
) -> Duration {
    let mut service = router.into_service();
    runtime.block_on(async {
        for nth in 0..primed {
            send(&mut service, nth).await;
        }
        let start = Instant::now();
        for nth in 0..count {
            send(&mut service, key(nth)).await;
        }
        start.elapsed()
    })
}

fn measure(
    bencher: &mut Bencher<'_>,
    runtime: &Runtime,
    router: impl Fn(&App) -> Router,
    primed: u64,
) {
    bencher.iter_custom(|count| {
        let app = App::default();
        let took = sample(runtime, router(&app), count, primed, |nth| {
            if primed == 0 { nth } else { nth % primed }
        });
        let effects = if primed == 0 { count } else { primed };
        assert_eq!(app.effects(), effects, "every key has its effect once");
        took
    });
}

fn handler(criterion: &mut Criterion) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    };
    let mut group = criterion.benchmark_group("handler");
    group.throughput(Throughput::Elements(1));
    group.bench_function("request", |bencher| {
        let mut key = 0;
        bencher.iter(|| {
            key += 1;
            request(black_box(key))
        });
    });
    group.bench_function("bare", |bencher| measure(bencher, &runtime, bare, 0));
    group.bench_function("fresh, floor", |bencher| measure(bencher, &runtime, floor, 0));
    group.bench_function("replay, floor", |bencher| measure(bencher, &runtime, floor, 256));
    #[cfg(feature = "ours")]
    {
        use idempotent_benches::{ours, ours_in_state};
        use idempotent_runtime::MemoryStore;

        let store = || MemoryStore::builder().budget(4 << 30).build();
        let guarded = |app: &App| ours(app, store());
        group.bench_function("fresh", |bencher| measure(bencher, &runtime, guarded, 0));
        group.bench_function("replay", |bencher| measure(bencher, &runtime, guarded, 256));
        let guarded = |app: &App| ours_in_state(app, store());
        group.bench_function("fresh, in state", |bencher| measure(bencher, &runtime, guarded, 0));
        group.bench_function("replay, in state", |bencher| {
            measure(bencher, &runtime, guarded, 256);
        });
    }
    group.finish();
}

criterion_group!(benches, handler);
criterion_main!(benches);
