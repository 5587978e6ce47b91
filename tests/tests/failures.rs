//! Hundreds of thousands of keys that failed, in the memory store. In a process of its own, whose memory is
//! measured.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // a test

use std::{fs, time::Duration};

use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, LeaseId, MemoryStore, OperationName, StorageKey,
    Store as _,
};

/// Bytes of memory that this process uses; `None` where the system does not tell.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

/// CASES 75: an outage of what handlers call, at ten requests a second for most of a day.
#[tokio::test]
async fn six_hundred_thousand_failures_fit_into_the_default_budget() {
    let (share, failures) = if cfg!(debug_assertions) { (6, 100_000) } else { (1, 600_000) };
    let store = MemoryStore::builder().budget(256 * 1024 * 1024 / share).build();
    let (request, operation) = (Fingerprint::of(&"request"), OperationName::from("POST /payments"));
    let day = Duration::from_hours(24);
    let before = resident();
    for n in 0..failures {
        let key = StorageKey::derive(None, None, "POST /payments", &n);
        let ask = AcquireRequest::new(&key, &request, LeaseId::random(), Duration::from_secs(30))
            .operation(&operation, day);
        let Acquired::Granted(lease) = store.acquire(ask).await.unwrap() else { unreachable!() };
        store.release(&lease, day).await.unwrap();
    }
    let usage = store.usage();
    assert_eq!(usage.remembered, failures);
    let charged = usage.bytes / failures;
    if let Some(before) = before {
        let each = (resident().unwrap() - before) / failures;
        println!("{failures} failures: {each} bytes each, {charged} charged");
        assert!(charged * 10 >= each * 9, "{charged} bytes are charged for {each}");
    }
}
