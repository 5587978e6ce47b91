//! Real threads and the real clock.

use std::{
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::*;

/// Runs `work` in this many threads, started together.
fn together(threads: u32, work: impl Fn(u32) + Sync) {
    let barrier = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for n in 0..threads {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(n);
            });
        }
    });
}

/// CASES 32: the same key arrives many times at once, and one is granted.
#[test]
fn of_64_threads_exactly_one_is_granted_each_of_1000_keys() {
    let store = MemoryStore::new();
    let grants: Vec<_> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
    let barrier = Barrier::new(64);
    together(64, |_| {
        for n in 0..1000 {
            barrier.wait();
            match ask(n).of(&store).unwrap() {
                Acquired::Granted(_) => drop(grants[n as usize].fetch_add(1, Ordering::Relaxed)),
                Acquired::InFlight { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(grants.iter().all(|grants| grants.load(Ordering::Relaxed) == 1));
    assert_eq!(store.usage().leased, 1000);
}

#[test]
fn a_contended_key_has_one_owner_at_a_time_and_growing_tokens() {
    let store = MemoryStore::new();
    let (owned, tokens) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    together(8, |_| {
        for _ in 0..2000 {
            let Acquired::Granted(lease) = ask(1).of(&store).unwrap() else { continue };
            assert!(!owned.swap(true, Ordering::SeqCst));
            tokens.lock().unwrap().push(lease.token);
            owned.store(false, Ordering::SeqCst);
            if lease.token.as_u64() % 2 == 0 {
                done(store.release(&lease, RETENTION)).unwrap();
            } else {
                assert!(forget(&store, 1));
            }
        }
    });
    let tokens = tokens.into_inner().unwrap();
    assert!(tokens.len() >= 1000 && tokens.is_sorted_by(|one, two| one < two));
}

/// CASES 23: a purge beside a claim never makes it in flight, nor a new record an old one.
#[test]
fn a_purge_racing_claims_takes_only_what_has_expired() {
    let store = MemoryStore::new();
    let running = AtomicUsize::new(4);
    together(5, |thread| {
        if thread == 4 {
            while running.load(Ordering::Relaxed) > 0 {
                purge(&store);
            }
            return;
        }
        let _ended = Ended(&running);
        for round in 0..2000 {
            let n = thread * 10 + round % 10;
            let first = ask(n).granted(&store);
            assert_eq!(first.attempt, 1);
            done(store.complete(&first, record(b"old"), Duration::ZERO)).unwrap();
            let second = ask(n).other_request().granted(&store);
            done(store.release(&second, Duration::ZERO)).unwrap();
            let third = ask(n).granted(&store);
            complete(&store, &third, b"new");
            assert_eq!(ask(n).replayed(&store).0, record(b"new"));
            assert!(store.recall(&key(n)).is_some());
            assert!(forget(&store, n));
        }
    });
    purge(&store);
    assert_eq!(store.usage().bytes, 0);
}

/// Counts a thread out, also when it panics.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn the_budget_is_neither_overdrawn_nor_left_unused_by_racing_claims() {
    let store = MemoryStore::builder().budget(100 * budget::KEY_COST).build();
    let granted = AtomicUsize::new(0);
    together(16, |thread| {
        for n in 0..100 {
            match ask(thread * 100 + n).of(&store) {
                Ok(Acquired::Granted(_)) => drop(granted.fetch_add(1, Ordering::Relaxed)),
                Err(StoreError::Full) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(granted.into_inner(), 100);
    assert_eq!(store.usage().bytes, store.usage().budget);
}

#[test]
fn after_any_mixture_of_calls_the_budget_is_given_back_to_the_byte() {
    for on_full in [OnFull::Refuse, OnFull::Evict] {
        let store = MemoryStore::builder().budget(40 * budget::KEY_COST).on_full(on_full).build();
        together(8, |_| {
            for _ in 0..3000 {
                let n = rand::random_range(0..64);
                match ask(n).of(&store) {
                    Ok(Acquired::Granted(lease)) => mixture(&store, &lease, n),
                    Ok(Acquired::Completed { record, .. }) => assert_eq!(record, body_of(n)),
                    Ok(_) | Err(StoreError::Full) => {}
                    Err(error) => panic!("{error}"),
                }
                if rand::random_ratio(1, 10) {
                    forget(&store, n);
                }
                if rand::random_ratio(1, 50) {
                    purge(&store);
                }
            }
        });
        for n in 0..64 {
            forget(&store, n);
        }
        purge(&store);
        let usage = store.usage();
        assert_eq!((usage.bytes, usage.leased, usage.remembered), (0, 0, 0));
        assert!(on_full == OnFull::Evict || usage.evicted == 0);
    }
}

fn body_of(n: u32) -> Record {
    record(&vec![7; 100 * n as usize])
}

/// One thing that an owner may do; `LeaseLost` where another thread forgot the key.
fn mixture(store: &MemoryStore, lease: &Lease, n: u32) {
    let short = Duration::from_micros(rand::random_range(0..500));
    let answer = match rand::random_range(0..6) {
        0 => done(store.abandon(lease)),
        1 => done(store.renew(lease, short)),
        2 => done(store.release(lease, short)),
        3 => done(store.save_step(lease, "step", Bytes::from_static(b"7"))),
        4 => done(store.complete(lease, body_of(n), short)),
        _ => done(store.complete(lease, body_of(n), TTL)),
    };
    assert!(matches!(answer, Ok(()) | Err(StoreError::LeaseLost | StoreError::Full)), "{answer:?}");
}
