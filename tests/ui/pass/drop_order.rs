#![deny(warnings)]
#![allow(dead_code)] // what is held is not read
//! What is dropped when: as by the same function without the attribute.

use std::cell::RefCell;

use idempotent_runtime::{Error, Guarded, Idempotency, MemoryStore, idempotent, idempotent_fn};

thread_local! {
    static DROPPED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Notes its name when it is dropped.
struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| dropped.push(self.0));
    }
}

struct Pair {
    left: Noted,
    right: Noted,
    id: u64,
}

/// Where nothing can be moved out.
struct Whole {
    part: Noted,
    id: u64,
}

impl Drop for Whole {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| dropped.push("whole"));
    }
}

enum Either {
    A(Noted),
    B(Noted),
}

fn dropped() -> Vec<&'static str> {
    DROPPED.take()
}

async fn bare(a: Noted, b: Noted, _: Noted, _c: Noted, d: Noted) -> Result<u64, Error> {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(a);
    Ok(b.0.len() as u64 + d.0.len() as u64)
}

#[idempotent(key = header("Idempotency-Key"))]
async fn handler(a: Noted, b: Noted, _: Noted, _c: Noted, d: Noted, (): ()) -> String {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(a);
    (b.0.len() + d.0.len()).to_string()
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(a: Noted, b: Noted, _: Noted, _c: Noted, d: Noted, (): ()) -> String {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(a);
    (b.0.len() + d.0.len()).to_string()
}

#[idempotent_fn(key = d.0, operation = "drop order", runtime = runtime)]
async fn function(
    runtime: &Idempotency,
    a: Noted,
    b: Noted,
    _: Noted,
    _c: Noted,
    d: Noted,
) -> Result<u64, Error> {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(a);
    Ok(b.0.len() as u64 + d.0.len() as u64)
}

async fn bare_parts(
    Pair { left, .. }: Pair,
    Whole { id, part: _ }: Whole,
    [_, last]: [Noted; 2],
    (Either::A(_) | Either::B(_)): Either,
    all @ Pair { id: other, .. }: Pair,
) -> Result<u64, Error> {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(last);
    Ok(left.0.len() as u64 + id + other + all.id)
}

#[idempotent_fn(key = (left.0, id, other), operation = "parts", runtime = runtime)]
async fn parts(
    runtime: &Idempotency,
    Pair { left, .. }: Pair,
    Whole { id, part: _ }: Whole,
    [_, last]: [Noted; 2],
    (Either::A(_) | Either::B(_)): Either,
    all @ Pair { id: other, .. }: Pair,
) -> Result<u64, Error> {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(last);
    Ok(left.0.len() as u64 + id + other + all.id)
}

#[idempotent(key = header("Idempotency-Key"))]
async fn handler_parts(
    Pair { left, .. }: Pair,
    Whole { id, part: _ }: Whole,
    [_, last]: [Noted; 2],
    (Either::A(_) | Either::B(_)): Either,
    all @ Pair { id: other, .. }: Pair,
    (): (),
) -> String {
    let _body = Noted("body");
    tokio::task::yield_now().await;
    drop(last);
    (left.0.len() as u64 + id + other + all.id).to_string()
}

fn pair(left: &'static str, right: &'static str) -> Pair {
    Pair { left: Noted(left), right: Noted(right), id: 1 }
}

fn five() -> [Noted; 5] {
    ["a", "b", "_", "_c", "d"].map(Noted)
}

fn either(a: bool) -> Either {
    if a { Either::A(Noted("either")) } else { Either::B(Noted("either")) }
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    let runtime = Idempotency::new(MemoryStore::new());
    let [a, b, ignored, other, d] = five();
    bare(a, b, ignored, other, d).await.unwrap();
    let expected = dropped();
    assert_eq!(expected, ["a", "body", "d", "_c", "_", "b"]);
    let [a, b, ignored, other, d] = five();
    function(&runtime, a, b, ignored, other, d).await.unwrap();
    assert_eq!(dropped(), expected);
    let [a, b, ignored, other, d] = five();
    handler(a, b, ignored, other, d, Guarded::unguarded(())).await.direct();
    assert_eq!(dropped(), expected);
    let [a, b, ignored, other, d] = five();
    inline(a, b, ignored, other, d, Guarded::unguarded(())).await.direct();
    assert_eq!(dropped(), expected);

    let whole = || Whole { part: Noted("part"), id: 2 };
    let two = || ["first", "last"].map(Noted);
    for a in [true, false] {
        let all = pair("all.left", "all.right");
        bare_parts(pair("left", "right"), whole(), two(), either(a), all).await.unwrap();
        let expected = dropped();
        assert_eq!(expected.len(), 10);
        let all = pair("all.left", "all.right");
        let pair_ = pair("left", "right");
        parts(&runtime, pair_, whole(), two(), either(a), all).await.unwrap();
        if a {
            assert_eq!(dropped(), expected);
        } else {
            // Replayed: nothing runs, and nothing is kept.
            assert_eq!(dropped().len(), 9);
        }
        let all = pair("all.left", "all.right");
        let guarded = Guarded::unguarded(());
        handler_parts(pair("left", "right"), whole(), two(), either(a), all, guarded).await.direct();
        assert_eq!(dropped(), expected);
    }
}
