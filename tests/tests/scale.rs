//! A million keys in the memory store.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // a test

use std::{fs, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, LeaseId, MemoryStore, Metadata, Record, StorageKey,
    Store as _,
};

/// A million where the code is optimised, a tenth where it is not.
const KEYS: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Bytes beside a record's content.
const OVERHEAD: usize = 450;

/// Bytes of memory that this process uses; `None` where the system does not tell.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

fn record(request: Fingerprint, n: u64) -> Record {
    let metadata = Metadata::Response {
        status: StatusCode::CREATED,
        headers: vec![(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/json"),
        )],
        trailers: Vec::new(),
    };
    let body = format!("{{\"id\":{n:0>190}}}");
    Record::new(request, metadata, Bytes::from(body))
}

/// The answer of a small JSON API, a million times: what the store needs beside the answers.
#[tokio::test]
async fn a_record_costs_little_beside_its_content() {
    let store = MemoryStore::builder().budget(4 * 1024 * 1024 * 1024).build();
    let request = Fingerprint::of(&"request");
    let Some(before) = resident() else {
        eprintln!("SKIPPED: this system does not tell how much memory a process uses");
        return;
    };
    let mut content = 0;
    for n in 0..KEYS {
        let key = StorageKey::derive(None, None, "POST /payments", &n);
        let ask = AcquireRequest::new(&key, &request, LeaseId::random(), Duration::from_secs(30));
        let Acquired::Granted(lease) = store.acquire(ask).await.unwrap() else { unreachable!() };
        let record = record(request, n);
        content += record.content_len();
        store.complete(&lease, record, Duration::from_hours(24)).await.unwrap();
    }
    let grown = resident().unwrap() - before;
    let keys = usize::try_from(KEYS).unwrap();
    let overhead = (grown - content) / keys;
    let charged = (store.usage().bytes - content) / keys;
    println!(
        "{keys} records of {} bytes: {overhead} bytes each beside, {charged} charged",
        content / keys
    );
    // The budget is one of memory: it may not promise more room than there is.
    assert!(charged * 10 >= overhead * 9, "{charged} bytes are charged for {overhead}");
    assert_eq!(store.usage().completed, keys);
    assert!(overhead <= OVERHEAD, "{overhead} bytes beside the content of a record");
}
