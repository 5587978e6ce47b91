//! Recovery points.

use super::*;

fn save(store: &MemoryStore, lease: &Lease, name: &str, value: &[u8]) -> Result<(), StoreError> {
    done(store.save_step(lease, name, Bytes::copy_from_slice(value)))
}

/// CASES 6: the result of a step is byte-exact, an empty one too.
#[tokio::test(start_paused = true)]
async fn steps_are_kept_across_release_and_takeover() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    save(&store, &lease, "empty", b"").unwrap();
    save(&store, &lease, "binary", &[0, 255]).unwrap();
    done(store.release(&lease, RETENTION)).unwrap();

    let second = ask(1).granted(&store);
    save(&store, &second, "more", b"null").unwrap();
    advance(LEASE).await;
    let third = ask(1).granted(&store);
    let steps: Vec<_> = third.steps.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(steps, [("binary", &[0, 255][..]), ("empty", b""), ("more", b"null")]);
    assert_eq!(third.attempt, 3);
}

#[tokio::test(start_paused = true)]
async fn equal_bytes_are_saved_again_for_nothing_and_others_are_a_conflict() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    save(&store, &lease, "charge", b"7").unwrap();
    let bytes = store.usage().bytes;
    save(&store, &lease, "charge", b"7").unwrap();
    let answer = save(&store, &lease, "charge", b"8");
    assert!(matches!(answer, Err(StoreError::StepConflict { name }) if &*name == "charge"));
    assert_eq!(store.usage().bytes, bytes);
    done(store.release(&lease, RETENTION)).unwrap();
    assert_eq!(&ask(1).granted(&store).steps["charge"][..], b"7");
}

#[tokio::test(start_paused = true)]
async fn a_granted_lease_keeps_the_steps_it_was_granted_with() {
    let store = MemoryStore::new();
    let ask = ask(1);
    let lease = ask.granted(&store);
    save(&store, &lease, "charge", b"7").unwrap();
    assert!(lease.steps.is_empty());
    // The repeated grant shows what was saved since.
    assert_eq!(ask.granted(&store).steps.len(), 1);
}

/// CASES 42: another request never inherits steps.
#[tokio::test(start_paused = true)]
async fn steps_are_forgotten_with_the_key() {
    let store = MemoryStore::new();
    let lease = ask(1).granted(&store);
    save(&store, &lease, "charge", b"7").unwrap();
    done(store.release(&lease, RETENTION)).unwrap();
    advance(RETENTION).await;
    assert!(ask(1).other_request().granted(&store).steps.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_without_room_is_refused_and_the_lease_goes_on() {
    let store = MemoryStore::builder().budget(budget::KEY_COST + 1500).build();
    let lease = ask(1).granted(&store);
    save(&store, &lease, "fits", &[7; 500]).unwrap();
    let answer = save(&store, &lease, "does not", &[7; 500]);
    assert!(matches!(answer, Err(StoreError::Full)), "{answer:?}");
    save(&store, &lease, "fits", &[7; 500]).unwrap();
    complete(&store, &lease, b"42");
    assert_eq!(ask(1).replayed(&store).0, record(b"42"));
    assert!(forget(&store, 1));
    assert_eq!(store.usage().bytes, 0);
}
