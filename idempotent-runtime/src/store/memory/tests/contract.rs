//! Who is granted a lease, and what a lease may do.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_goes_from_lease_to_record_and_its_duplicates_see_both() {
    let store = MemoryStore::new();
    assert!(matches!(state(&store, 1), KeyState::Absent));
    let lease = ask(1).granted(&store);
    assert_eq!((lease.key, lease.attempt, lease.steps.len()), (key(1), 1, 0));
    advance(Duration::from_secs(10)).await;
    assert!(matches!(
        ask(1).of(&store),
        Ok(Acquired::InFlight { lease_expires_in }) if lease_expires_in == Duration::from_secs(20)
    ));
    assert_eq!(store.recall(&key(1)), None);

    complete(&store, &lease, b"42");
    advance(Duration::from_secs(10)).await;
    let expected = (record(b"42"), TTL.saturating_sub(Duration::from_secs(10)));
    assert_eq!(ask(1).replayed(&store), expected);
    assert_eq!(store.recall(&key(1)), Some(record(b"42")));
    assert!(matches!(
        state(&store, 1),
        KeyState::Completed { record, expires_in } if (record.clone(), expires_in) == expected
    ));
    assert_eq!(store.kind(), "memory");
}

#[tokio::test(start_paused = true)]
async fn clones_share_what_they_hold() {
    let store = MemoryStore::new();
    let clone = store.clone();
    complete(&clone, &ask(1).granted(&store), b"42");
    assert_eq!(ask(1).replayed(&store).0, record(b"42"));
}

/// CASES 6: a falsy, empty or binary result is a result.
#[tokio::test(start_paused = true)]
async fn empty_falsy_and_binary_bodies_are_replayed_byte_for_byte() {
    let store = MemoryStore::new();
    let bodies: [&[u8]; 7] =
        [b"", b"0", b"false", b"\"\"", b"[]", b"null", &[0, 255, 13, 10, 0, 128]];
    for (n, body) in (0..).zip(bodies) {
        complete(&store, &ask(n).granted(&store), body);
        let (replayed, _) = ask(n).replayed(&store);
        assert_eq!(replayed.body(), body);
        assert_eq!(replayed, record(body));
    }
}

/// CASES 43: an `acquire` whose answer was lost is repeated with the same id.
#[tokio::test(start_paused = true)]
async fn the_same_lease_id_is_granted_again_with_the_same_token() {
    let store = MemoryStore::new();
    let ask = ask(1);
    let lease = ask.granted(&store);
    advance(Duration::from_secs(10)).await;
    assert_eq!(ask.granted(&store), lease);
    // Counted from the repetition, as its caller does.
    advance(before(LEASE)).await;
    assert!(matches!(super::ask(1).of(&store), Ok(Acquired::InFlight { .. })));
    advance(INSTANT).await;
    assert!(matches!(state(&store, 1), KeyState::Abandoned { .. }));
    // Nobody took it over, so it is still its owner's.
    assert_eq!(ask.granted(&store), lease);
    assert!(matches!(state(&store, 1), KeyState::Leased { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_with_a_shorter_lease_takes_nothing_away() {
    let store = MemoryStore::new();
    let ask = ask(1);
    ask.granted(&store);
    ask.lease_for(Duration::from_secs(1)).granted(&store);
    assert!(matches!(
        state(&store, 1),
        KeyState::Leased { expires_in, .. } if expires_in == LEASE
    ));
}

/// CASES 43: the id that was released last gets no lease; its owner has ended.
#[tokio::test(start_paused = true)]
async fn the_last_released_lease_id_is_refused() {
    let store = MemoryStore::new();
    let ask = ask(1);
    let lease = ask.granted(&store);
    done(store.release(&lease, RETENTION)).unwrap();
    assert!(matches!(ask.of(&store), Err(StoreError::LeaseLost)));
    assert!(matches!(state(&store, 1), KeyState::Released { attempt: 1, .. }));
    let next = super::ask(1).granted(&store);
    assert_eq!(next.attempt, 2);
    assert!(next.token > lease.token);
}

/// CASES 42: a released key keeps its fingerprint.
#[tokio::test(start_paused = true)]
async fn a_released_key_refuses_another_request_until_its_retention_is_over() {
    let store = MemoryStore::new();
    let ask = ask(1);
    done(store.release(&ask.granted(&store), RETENTION)).unwrap();
    advance(before(RETENTION)).await;
    assert!(matches!(ask.other_request().of(&store), Ok(Acquired::FingerprintMismatch)));
    advance(INSTANT).await;
    assert_eq!(ask.other_request().granted(&store).attempt, 1);
}

/// CASES 4: another request is told so in every state, before anything else.
#[tokio::test(start_paused = true)]
async fn another_request_is_a_mismatch_in_every_state_and_changes_none() {
    let store = MemoryStore::new();
    let ask = ask(1);
    let mismatched = |ask: Ask| {
        // With a new id, with the owner's, with takeover and without.
        for other in [super::ask(1), ask, super::ask(1).without_takeover()] {
            let before = format!("{:?}", state(&store, 1));
            let answer = other.other_request().of(&store);
            assert!(matches!(answer, Ok(Acquired::FingerprintMismatch)), "{answer:?}");
            assert_eq!(format!("{:?}", state(&store, 1)), before);
        }
    };
    let lease = ask.granted(&store);
    mismatched(ask);
    advance(LEASE).await;
    assert!(matches!(state(&store, 1), KeyState::Abandoned { .. }));
    mismatched(ask);
    done(store.release(&lease, RETENTION)).unwrap();
    mismatched(ask);
    let lease = super::ask(1).granted(&store);
    complete(&store, &lease, b"42");
    mismatched(ask);
    assert_eq!(super::ask(1).replayed(&store).0, record(b"42"));
}

/// CASES 15, 41: the owner that was taken over changes nothing any more.
#[tokio::test(start_paused = true)]
async fn a_stale_owner_is_refused_on_every_step() {
    let store = MemoryStore::new();
    let stale = ask(1).granted(&store);
    advance(LEASE).await;
    let owner = ask(1).granted(&store);
    assert_eq!((owner.attempt, owner.token > stale.token), (2, true));
    refused_everywhere(&store, &stale);

    done(store.release(&owner, RETENTION)).unwrap();
    refused_everywhere(&store, &stale);
    refused_everywhere(&store, &owner);

    let third = ask(1).granted(&store);
    complete(&store, &third, b"42");
    for lease in [&stale, &owner, &third] {
        refused_everywhere(&store, lease);
    }
    forget(&store, 1);
    refused_everywhere(&store, &third);
    assert!(matches!(state(&store, 1), KeyState::Absent));
}

/// CASES 43: a lease is its id and its token; neither alone is one.
#[tokio::test(start_paused = true)]
async fn an_id_without_its_token_and_a_token_without_its_id_are_refused() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    let token = lease.token.as_u64();
    for token in [token - 1, token + 1, 0] {
        refused_everywhere(
            &store,
            &Lease { token: FencingToken::from_u64(token), ..lease.clone() },
        );
    }
    refused_everywhere(&store, &Lease { id: LeaseId::random(), ..lease.clone() });
    refused_everywhere(&store, &Lease { key: key(2), ..lease.clone() });
    complete(&store, &lease, b"42");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_is_its_owners_until_somebody_takes_it_over() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    advance(LEASE + Duration::from_secs(1)).await;
    let answer = ask(1).without_takeover().of(&store);
    assert!(matches!(answer, Ok(Acquired::Abandoned { attempt: 1 })), "{answer:?}");
    done(store.save_step(&lease, "charge", Bytes::from_static(b"7"))).unwrap();
    done(store.renew(&lease, LEASE)).unwrap();
    assert!(matches!(ask(1).of(&store), Ok(Acquired::InFlight { .. })));
    advance(LEASE).await;
    complete(&store, &lease, b"late and true");
    assert_eq!(ask(1).replayed(&store).0, record(b"late and true"));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_key_can_be_taken_over_at_once_with_its_steps() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    done(store.save_step(&lease, "charge", Bytes::from_static(b"7"))).unwrap();
    done(store.abandon(&lease)).unwrap();
    assert!(matches!(state(&store, 1), KeyState::Abandoned { attempt: 1, .. }));
    let next = ask(1).granted(&store);
    assert_eq!((next.attempt, &next.steps["charge"][..]), (2, &b"7"[..]));
}

/// CASES 44: a token is never granted twice, not even across `forget`.
#[tokio::test(start_paused = true)]
async fn tokens_grow_across_release_takeover_expiry_and_forget() {
    let store = MemoryStore::new();
    let mut last = 0;
    for round in 0..40 {
        let lease = ask(1).granted(&store);
        assert!(lease.token.as_u64() > last, "round {round}");
        last = lease.token.as_u64();
        match round % 4 {
            0 => done(store.release(&lease, RETENTION)).unwrap(),
            1 => advance(LEASE).await,
            2 => advance(LEASE + RETENTION).await,
            _ => assert!(forget(&store, 1)),
        }
    }
}

/// CASES 44: a live lease is not forgotten by accident, and its owner learns of it.
#[tokio::test(start_paused = true)]
async fn a_live_lease_is_only_forgotten_by_force() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    let answer = done(store.forget(&key(1), false));
    assert!(matches!(answer, Err(StoreError::StillLeased)), "{answer:?}");
    assert!(matches!(state(&store, 1), KeyState::Leased { .. }));

    assert!(done(store.forget(&key(1), true)).unwrap());
    refused_everywhere(&store, &lease);
    let next = ask(1).granted(&store);
    assert_eq!((next.attempt, next.token > lease.token), (1, true));
    refused_everywhere(&store, &lease);
}

#[tokio::test(start_paused = true)]
async fn forget_says_whether_there_was_something() {
    let store = MemoryStore::new();
    let forget = || done(store.forget(&key(1), false)).unwrap();
    assert!(!forget());
    done(store.abandon(&ask(1).granted(&store))).unwrap();
    assert!(forget());
    done(store.release(&ask(1).granted(&store), RETENTION)).unwrap();
    assert!(forget());
    complete(&store, &ask(1).granted(&store), b"42");
    assert!(forget());
    assert_eq!(store.recall(&key(1)), None);
    assert!(!forget());
    complete(&store, &ask(1).granted(&store), b"42");
    advance(TTL).await;
    assert!(!forget());
}

#[tokio::test(start_paused = true)]
async fn inspect_shows_whose_key_it_is_and_which_attempt() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    let KeyState::Leased { fingerprint: whose, attempt, token, expires_in, .. } = state(&store, 1)
    else {
        panic!("not leased");
    };
    assert_eq!((whose, attempt, token, expires_in), (fingerprint(), 1, lease.token, LEASE));
    done(store.release(&lease, RETENTION)).unwrap();
    let KeyState::Released { fingerprint: whose, attempt, token, .. } = state(&store, 1) else {
        panic!("not released");
    };
    assert_eq!((whose, attempt, token), (fingerprint(), 1, lease.token));
}

/// A renewal that was under way when its owner gave the lease up does not bring it back.
#[test]
fn a_renewal_that_arrives_after_its_lease_was_abandoned_is_refused() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    done(store.abandon(&lease)).unwrap();
    assert!(matches!(done(store.renew(&lease, LEASE)), Err(StoreError::LeaseLost)));
    assert!(matches!(done(store.inspect(&lease.key)).unwrap(), KeyState::Abandoned { .. }));
}
