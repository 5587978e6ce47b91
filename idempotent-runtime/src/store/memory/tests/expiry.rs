//! Deadlines, exact at the instant.

use super::*;

/// CASES 34: at the very instant of its expiry a record is not replayed any more.
#[tokio::test(start_paused = true)]
async fn a_record_is_replayed_until_its_ttl_and_not_at_it() {
    let store = MemoryStore::new();
    complete(&store, &ask(1).granted(&store), b"42");
    advance(before(TTL)).await;
    assert_eq!(ask(1).replayed(&store), (record(b"42"), INSTANT));
    assert!(store.recall(&key(1)).is_some());
    advance(INSTANT).await;
    assert_eq!(store.recall(&key(1)), None);
    assert!(matches!(state(&store, 1), KeyState::Absent));
    assert_eq!(ask(1).other_request().granted(&store).attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_holds_until_its_end_and_not_at_it() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    advance(before(LEASE)).await;
    assert!(matches!(
        ask(1).of(&store),
        Ok(Acquired::InFlight { lease_expires_in }) if lease_expires_in == INSTANT
    ));
    done(store.renew(&lease, LEASE)).unwrap();
    advance(before(LEASE)).await;
    assert!(matches!(ask(1).of(&store), Ok(Acquired::InFlight { .. })));
    advance(INSTANT).await;
    assert!(matches!(ask(1).without_takeover().of(&store), Ok(Acquired::Abandoned { .. })));
    assert_eq!(ask(1).granted(&store).attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_key_is_remembered_for_its_retention_after_the_lease() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    advance(before(LEASE + RETENTION)).await;
    assert!(matches!(state(&store, 1), KeyState::Abandoned { .. }));
    advance(INSTANT).await;
    assert!(matches!(state(&store, 1), KeyState::Absent));
    refused_everywhere(&store, &lease);
    assert_eq!(ask(1).other_request().granted(&store).attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_key_under_halt_is_remembered_until_it_is_resolved() {
    let store = MemoryStore::new();
    done(store.abandon(&ask(1).until_resolved().granted(&store))).unwrap();
    advance(Duration::from_hours(24 * 365 * 100)).await;
    assert_eq!(purge(&store), 0);
    let answer = ask(1).until_resolved().without_takeover().of(&store);
    assert!(matches!(answer, Ok(Acquired::Abandoned { attempt: 1 })), "{answer:?}");
    assert!(done(store.forget(&key(1), false)).unwrap());
}

/// CASES 8: sub-second leases and ttls are neither rounded to never nor to for ever.
#[tokio::test(start_paused = true)]
async fn sub_second_leases_ttls_and_retentions_are_exact() {
    let store = MemoryStore::new();
    for (n, short) in (0..).zip([INSTANT, Duration::from_micros(1), Duration::from_millis(250)]) {
        let ask = ask(n).lease_for(short);
        let lease = ask.granted(&store);
        advance(before(short)).await;
        assert!(matches!(super::ask(n).of(&store), Ok(Acquired::InFlight { .. })));
        advance(INSTANT).await;
        assert!(matches!(state(&store, n), KeyState::Abandoned { .. }));

        done(store.release(&lease, short)).unwrap();
        advance(before(short)).await;
        assert!(matches!(state(&store, n), KeyState::Released { .. }));
        advance(INSTANT).await;
        assert!(matches!(state(&store, n), KeyState::Absent));

        let lease = ask.granted(&store);
        done(store.complete(&lease, record(b"42"), short)).unwrap();
        advance(before(short)).await;
        assert_eq!(ask.replayed(&store).1, INSTANT);
        advance(INSTANT).await;
        assert_eq!(store.recall(&key(n)), None);
    }
}

/// CASES 9: a zero protects nothing, but it breaks nothing either.
#[tokio::test(start_paused = true)]
async fn durations_of_zero_end_at_once() {
    let store = MemoryStore::new();
    let lease = ask(1).lease_for(Duration::ZERO).granted(&store);
    assert!(matches!(state(&store, 1), KeyState::Abandoned { .. }));
    done(store.renew(&lease, LEASE)).unwrap();
    done(store.renew(&lease, Duration::ZERO)).unwrap();
    assert!(matches!(state(&store, 1), KeyState::Abandoned { .. }));
    done(store.complete(&lease, record(b"42"), Duration::ZERO)).unwrap();
    assert!(matches!(state(&store, 1), KeyState::Absent));
    let lease = ask(1).granted(&store);
    done(store.release(&lease, Duration::ZERO)).unwrap();
    assert!(matches!(state(&store, 1), KeyState::Absent));
    purge(&store);
    assert_eq!(store.usage().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn durations_without_end_are_kept_and_overflow_nothing() {
    let store = MemoryStore::new();
    advance(Duration::from_secs(1)).await;
    let ask = Ask { lease_for: Duration::MAX, retention: Retention::For(Duration::MAX), ..ask(1) };
    let lease = ask.granted(&store);
    advance(Duration::from_hours(24 * 365 * 30)).await;
    assert!(matches!(super::ask(1).of(&store), Ok(Acquired::InFlight { .. })));
    done(store.renew(&lease, Duration::MAX)).unwrap();
    done(store.complete(&lease, record(b"42"), Duration::MAX)).unwrap();
    advance(Duration::from_hours(24 * 365 * 30)).await;
    assert_eq!(super::ask(1).replayed(&store).0, record(b"42"));
    let lease = super::ask(2).granted(&store);
    done(store.release(&lease, Duration::MAX)).unwrap();
    assert!(matches!(state(&store, 2), KeyState::Released { .. }));
}

#[tokio::test(start_paused = true)]
async fn purge_removes_at_most_what_it_was_told_and_nothing_alive() {
    let store = MemoryStore::new();
    for n in 0..300 {
        let lease = ask(n).granted(&store);
        match n % 3 {
            0 => done(store.complete(&lease, record(b"42"), RETENTION)).unwrap(),
            1 => done(store.release(&lease, RETENTION)).unwrap(),
            _ => done(store.abandon(&lease)).unwrap(),
        }
    }
    let later = ask(1000).granted(&store);
    advance(before(RETENTION)).await;
    complete(&store, &ask(1001).granted(&store), b"alive");
    assert_eq!(purge(&store), 0);
    advance(INSTANT).await;
    let limited = |limit| done(store.purge_expired(limit)).unwrap();
    assert_eq!(limited(0), 0);
    assert_eq!(limited(7), 7);
    // Completing 1001 cleared at most two on its way, in its own shard, and none was due then.
    assert_eq!(limited(100), 100);
    assert_eq!(limited(usize::MAX), 193);
    assert_eq!(limited(usize::MAX), 0);
    assert_eq!(ask(1001).replayed(&store).0, record(b"alive"));
    complete(&store, &later, b"late and true");
    let usage = store.usage();
    assert_eq!((usage.leased, usage.remembered, usage.completed), (0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_completed_again_is_not_purged_with_its_old_record() {
    let store = MemoryStore::new();
    for n in 0..100 {
        complete(&store, &ask(n).granted(&store), b"old");
    }
    advance(TTL).await;
    // The old deadlines are due and most of them still wait when the new records come.
    for n in 0..100 {
        complete(&store, &ask(n).granted(&store), b"new");
    }
    purge(&store);
    for n in 0..100 {
        assert_eq!(ask(n).replayed(&store).0, record(b"new"));
        assert!(forget(&store, n));
    }
    assert_eq!(store.usage().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn of_thousands_of_records_that_end_at_one_instant_every_one_goes() {
    const KEYS: u32 = 10_000;
    let store = MemoryStore::new();
    for n in 0..KEYS {
        complete(&store, &ask(n).granted(&store), b"42");
    }
    assert_eq!(store.usage().completed, KEYS as usize);
    advance(TTL).await;
    assert_eq!(purge(&store), KEYS as usize);
    let usage = store.usage();
    assert_eq!((usage.completed, usage.bytes), (0, 0));
}
