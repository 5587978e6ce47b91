//! The byte budget.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Level, Metadata as TraceMetadata, span};

use super::*;
use crate::sync::shards;

const CAP: usize = 1024 * 1024;

/// A store with room for this many new keys.
fn room_for(keys: usize) -> MemoryStore {
    MemoryStore::builder().budget(keys * budget::KEY_COST).build()
}

fn evicting(bytes: usize) -> MemoryStore {
    MemoryStore::builder().budget(bytes).on_full(OnFull::Evict).build()
}

fn is_full(store: &MemoryStore, n: u32) -> bool {
    match ask(n).of(store) {
        Err(StoreError::Full) => true,
        Ok(Acquired::Granted(_)) => false,
        other => panic!("expected a lease or no room, not {other:?}"),
    }
}

/// CASES 36: flooding keys must not run somebody's payment again.
#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_is_refused_and_evicts_nothing_alive() {
    let store = room_for(100);
    complete(&store, &ask(1).granted(&store), b"the first payment");
    let running = ask(2).granted(&store);
    let released = ask(3).granted(&store);
    done(store.release(&released, TTL)).unwrap();
    done(store.abandon(&ask(4).until_resolved().granted(&store))).unwrap();

    let mut granted = 0;
    for n in 1000..11_000 {
        match ask(n).of(&store) {
            Ok(Acquired::Granted(lease)) => {
                complete(&store, &lease, b"a flood");
                granted += 1;
            }
            Err(StoreError::Full) => {}
            other => panic!("{other:?}"),
        }
        assert!(store.usage().bytes <= store.usage().budget);
    }
    let most = 100 * budget::KEY_COST / budget::RECORD_COST;
    assert!((96..most).contains(&granted), "{granted}");
    assert_eq!(ask(1).replayed(&store).0, record(b"the first payment"));
    assert!(store.recall(&key(1)).is_some());
    assert!(matches!(ask(2).of(&store), Ok(Acquired::InFlight { .. })));
    assert!(matches!(ask(3).other_request().of(&store), Ok(Acquired::FingerprintMismatch)));
    assert!(matches!(state(&store, 4), KeyState::Abandoned { .. }));
    complete(&store, &running, b"42");
    let usage = store.usage();
    assert_eq!((usage.completed, usage.remembered, usage.evicted), (granted + 2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn keys_that_the_store_knows_go_on_when_it_is_full() {
    let store = room_for(3);
    let repeated = ask(1);
    let lease = repeated.granted(&store);
    done(store.release(&ask(2).granted(&store), RETENTION)).unwrap();
    done(store.abandon(&ask(3).granted(&store))).unwrap();
    ask(4).granted(&store);
    assert!(is_full(&store, 5));

    assert_eq!(repeated.granted(&store), lease);
    assert_eq!(ask(2).granted(&store).attempt, 2);
    assert_eq!(ask(3).granted(&store).attempt, 2);
    assert!(is_full(&store, 5));
    assert!(matches!(state(&store, 5), KeyState::Absent));
    assert_eq!(store.usage().bytes, 4 * budget::KEY_COST);
}

/// CASES 36: records of 0 bytes and of exactly the cap; whoever was granted a lease can record.
#[tokio::test(start_paused = true)]
async fn a_lease_in_a_full_store_records_whatever_its_outcome_takes() {
    let store = room_for(2);
    let (empty, largest) = (ask(1).granted(&store), ask(2).granted(&store));
    complete(&store, &largest, &vec![7; CAP]);
    let usage = store.usage();
    assert!(usage.bytes >= CAP && usage.bytes <= usage.budget + CAP, "{usage:?}");
    assert!(is_full(&store, 3));
    complete(&store, &empty, b"");
    assert_eq!(ask(1).replayed(&store).0.body().len(), 0);
    assert_eq!(ask(2).replayed(&store).0, record(&vec![7; CAP]));
    assert!(forget(&store, 2));
    assert_eq!(store.usage().bytes, budget::RECORD_COST);
    assert!(!is_full(&store, 3));
}

#[tokio::test(start_paused = true)]
async fn room_comes_back_with_every_way_a_key_can_end() {
    let store = room_for(1);
    let fill = |n: u32, bytes| {
        assert!(is_full(&store, n + 1000));
        assert_eq!(store.usage().bytes, bytes);
    };
    ask(1).granted(&store);
    fill(1, budget::KEY_COST);
    assert!(forget(&store, 1));

    done(store.release(&ask(2).granted(&store), RETENTION)).unwrap();
    fill(2, budget::REMEMBERED_COST);
    advance(RETENTION).await;

    done(store.abandon(&ask(3).granted(&store))).unwrap();
    fill(3, budget::REMEMBERED_COST);
    advance(RETENTION).await;

    done(store.free(&ask(4).granted(&store), LEASE)).unwrap();
    fill(4, budget::REMEMBERED_COST);
    advance(LEASE).await;

    // Forgotten and asked for again: its own room is enough.
    ask(5).granted(&store);
    fill(5, budget::KEY_COST);
    advance(LEASE + RETENTION).await;
    ask(5).other_request().granted(&store);
    fill(5, budget::KEY_COST);
    advance(LEASE + RETENTION).await;

    let lease = ask(6).granted(&store);
    done(store.complete(&lease, record(&[7; budget::KEY_COST - budget::RECORD_COST]), TTL))
        .unwrap();
    fill(6, budget::KEY_COST);
    advance(TTL).await;
    assert!(!is_full(&store, 7));
}

/// CASES 75: what has expired is reclaimed as fast as new keys come, whatever it was.
#[tokio::test(start_paused = true)]
async fn a_full_store_takes_new_keys_as_fast_as_old_ones_expire() {
    let store = room_for(64);
    let mut n = 0;
    let mut next = || {
        n += 1;
        n
    };
    // Until it is full: one each millisecond, and each expires by itself after a second.
    let short = Duration::from_secs(1);
    let mut granted = [0; 3];
    for millis in 0..3000 {
        advance(Duration::from_millis(1)).await;
        let n = next();
        match ask(n).of(&store) {
            Ok(Acquired::Granted(lease)) => {
                granted[millis / 1000] += 1;
                match n % 4 {
                    0 => done(store.complete(&lease, record(b"42"), short)).unwrap(),
                    1 => done(store.release(&lease, short)).unwrap(),
                    2 => done(store.free(&lease, short)).unwrap(),
                    _ => {
                        let short = Ask { retention: Retention::For(short), ..ask(next()) };
                        done(store.release(&lease, Duration::ZERO)).unwrap();
                        if let Ok(Acquired::Granted(lease)) = short.of(&store) {
                            done(store.abandon(&lease)).unwrap();
                        }
                    }
                }
            }
            Err(StoreError::Full) => {}
            other => panic!("{other:?}"),
        }
    }
    // It is full with about 200, and as many go out in each second as come in.
    let [first, others @ ..] = granted;
    assert!(first < 500 && others.iter().all(|granted| granted * 5 > first * 4), "{granted:?}");
}

/// CASES 75: leases that lapsed without a word are found by a walk, which is not made for each request.
#[tokio::test(start_paused = true)]
async fn a_full_store_walks_through_its_leases_once_a_second_at_most() {
    let store = room_for(200);
    let short = Duration::from_millis(250);
    for n in 0..200 {
        let ask = Ask { retention: Retention::For(short), ..ask(n).lease_for(short) };
        ask.granted(&store);
    }
    assert!(is_full(&store, 1000));
    advance(before(Duration::from_secs(1))).await;
    assert!(is_full(&store, 1000));
    advance(INSTANT).await;
    assert!(!is_full(&store, 1000));
    assert_eq!(store.usage().bytes, budget::KEY_COST);
}

/// CASES 75: a key that fails and is tried again for a day leaves no deadline for each time.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_given_back_many_times_takes_the_room_of_one() {
    let room = |store: &MemoryStore| store.0.all_shards().map(|shard| shard.room()).max().unwrap();
    let store = MemoryStore::new();
    for n in 0..10_000 {
        let lease = ask(1).granted(&store);
        match n % 3 {
            0 => done(store.release(&lease, TTL)).unwrap(),
            1 => done(store.abandon(&lease)).unwrap(),
            _ => {
                done(store.abandon(&lease)).unwrap();
                done(store.release(&lease, TTL)).unwrap();
            }
        }
        advance(Duration::from_millis(1)).await;
    }
    assert!(room(&store) <= 512, "{}", room(&store));
    assert_eq!(store.usage().bytes, budget::REMEMBERED_COST);
    complete(&store, &ask(1).granted(&store), b"at last");
    assert_eq!(ask(1).replayed(&store).0, record(b"at last"));
    advance(TTL).await;
    purge(&store);
    assert_eq!(store.usage().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_maps_stay_in_proportion_to_what_is_alive_without_any_purge() {
    let store = MemoryStore::new();
    for n in 0..100_000 {
        let lease = ask(n).granted(&store);
        let short = Duration::from_millis(1);
        if n % 2 == 0 {
            done(store.complete(&lease, record(b"42"), short)).unwrap();
        } else {
            done(store.release(&lease, short)).unwrap();
        }
        if n % 100 == 0 {
            advance(short).await;
        }
    }
    // At most 64 forgotten keys and a few expired records in each shard.
    let bytes = store.usage().bytes;
    assert!(bytes < shards() * 70 * budget::KEY_COST, "{bytes}");
}

/// What a burst of records took is given back with the last of them, however they go.
#[tokio::test(start_paused = true)]
async fn room_is_given_back_when_records_are_purged_or_forgotten() {
    let room = |store: &MemoryStore| store.0.all_shards().map(|shard| shard.room()).max().unwrap();
    let ttl = Duration::from_secs(1);
    let filled = || {
        let store = MemoryStore::new();
        for n in 0..20_000 {
            done(store.complete(&ask(n).granted(&store), record(b"42"), ttl)).unwrap();
        }
        assert!(room(&store) > 100);
        store
    };
    let store = filled();
    advance(ttl).await;
    assert_eq!(done(store.purge_expired(usize::MAX)).unwrap(), 20_000);
    assert!(room(&store) <= 64, "{}", room(&store));
    let store = filled();
    for n in 0..20_000 {
        assert!(done(store.forget(&key(n), false)).unwrap());
    }
    assert!(room(&store) <= 128, "{}", room(&store));
}

/// Nothing of the budget is lost or counted twice, however keys end.
#[tokio::test(start_paused = true)]
async fn the_budget_is_given_back_to_the_byte() {
    let store = MemoryStore::new();
    for n in 0..1000 {
        let lease = ask(n).granted(&store);
        for step in 0..n % 4 {
            let value = Bytes::from(vec![7; n as usize]);
            done(store.save_step(&lease, &step.to_string(), value)).unwrap();
        }
        let body = vec![7; 10 * n as usize];
        match n % 8 {
            0 => drop(lease),
            1 => done(store.abandon(&lease)).unwrap(),
            2 => done(store.release(&lease, RETENTION)).unwrap(),
            3 => {
                done(store.release(&lease, RETENTION)).unwrap();
                complete(&store, &ask(n).granted(&store), &body);
            }
            _ => complete(&store, &lease, &body),
        }
        if n % 5 == 0 {
            assert!(forget(&store, n));
        }
    }
    advance(LEASE + TTL).await;
    for n in (0..1000).step_by(3) {
        // Some are found expired and taken again before anything is purged.
        complete(&store, &ask(n).granted(&store), b"again");
        assert!(forget(&store, n));
    }
    purge(&store);
    let usage = store.usage();
    assert_eq!((usage.bytes, usage.leased, usage.remembered, usage.completed), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn evicting_loses_records_never_leases_and_counts_each_loss() {
    let store = evicting(400 * 1024);
    let running = ask(1).granted(&store);
    done(store.release(&ask(2).granted(&store), TTL)).unwrap();
    // With one subscriber only, tracing asks the thread that comes to a log line first whether anybody
    // listens: another test's may say no for all. With two it asks both.
    let _second = tracing::Dispatch::new(Logged);
    let guard = tracing::subscriber::set_default(Logged);
    for n in 1000..11_000 {
        complete(&store, &ask(n).granted(&store), &[7; 100]);
    }
    let usage = store.usage();
    drop(guard);
    assert!(usage.bytes <= usage.budget, "{usage:?}");
    assert_eq!(usage.evicted + usage.completed as u64, 10_000);
    assert!(usage.completed > 300, "{usage:?}");
    let errors = ERRORS.load(Ordering::Relaxed);
    assert!((10..20).contains(&errors), "{errors}");

    assert_eq!(store.recall(&key(1000)), None);
    assert_eq!(ask(10_999).replayed(&store).0, record(&[7; 100]));
    assert!(matches!(ask(1).of(&store), Ok(Acquired::InFlight { .. })));
    assert!(matches!(ask(2).other_request().of(&store), Ok(Acquired::FingerprintMismatch)));
    complete(&store, &running, b"42");
}

#[tokio::test(start_paused = true)]
async fn evicting_keeps_what_was_used_last() {
    let store = evicting(100 * 1024);
    complete(&store, &ask(1).granted(&store), b"used");
    for n in 1000..2000 {
        complete(&store, &ask(n).granted(&store), b"unused");
        assert!(store.recall(&key(1)).is_some(), "{n}");
        store.usage();
    }
    assert!(store.usage().evicted > 0);
}

#[tokio::test(start_paused = true)]
async fn evicting_refuses_keys_when_leases_alone_fill_their_part() {
    let store = evicting(4 * 10 * budget::KEY_COST);
    for n in 0..10 {
        ask(n).granted(&store);
    }
    assert!(is_full(&store, 10));
    assert!(matches!(ask(0).of(&store), Ok(Acquired::InFlight { .. })));
    assert!(forget(&store, 0));
    assert!(!is_full(&store, 10));
}

#[tokio::test(start_paused = true)]
async fn evicting_counts_a_record_too_large_to_keep_but_none_that_ended_by_itself() {
    let store = evicting(CAP);
    complete(&store, &ask(1).granted(&store), b"forgotten");
    assert!(forget(&store, 1));
    complete(&store, &ask(1).granted(&store), &vec![7; CAP]);
    let usage = store.usage();
    assert_eq!((usage.evicted, usage.completed, usage.bytes), (1, 0, 0));

    for n in 1000..3000 {
        let lease = ask(n).granted(&store);
        done(store.complete(&lease, record(b"42"), INSTANT)).unwrap();
        advance(INSTANT).await;
    }
    let usage = store.usage();
    assert!(usage.completed < 2000, "{usage:?}");
    assert_eq!(usage.evicted, 1);
}

static ERRORS: AtomicUsize = AtomicUsize::new(0);

/// Counts the errors that this thread logs.
struct Logged;

impl tracing::Subscriber for Logged {
    fn enabled(&self, metadata: &TraceMetadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        ERRORS.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
