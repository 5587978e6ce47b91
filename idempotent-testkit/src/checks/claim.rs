//! Who is granted a lease.

use idempotent_runtime::{Acquired, LeaseId, StorageKey, Store, StoreError};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{LONG, World, ask, ask_for},
};

pub(crate) async fn a_new_key_is_granted_as_the_first_attempt<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    ensure!(lease.key == ask.key, "the lease is of another key");
    ensure!(lease.id == ask.id, "the lease has another id than was asked with");
    ensure!(lease.attempt == 1, "the first attempt is number {}", lease.attempt);
    ensure!(lease.steps.is_empty(), "a new key has steps: {:?}", lease.steps);
    Ok(())
}

pub(crate) async fn a_leased_key_is_in_flight_for_others<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let before = world.seen(&ask.key).await?;
    world.in_flight(ask.again()).await?;
    world.in_flight(ask.again().without_takeover()).await?;
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "an acquire that was not granted changed {before:?} to {after:?}");
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn in_flight_tells_the_time_that_is_left<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    world.granted(ask).await?;
    let first = world.in_flight(ask.again()).await?;
    let slack = world.capabilities.precision;
    ensure!(first <= LONG + slack, "{first:?} are left of a lease of {LONG:?}");
    ensure!(first > LONG / 2, "only {first:?} are left of a new lease of {LONG:?}");
    world.pass(world.short()).await;
    let second = world.in_flight(ask.again()).await?;
    let passed = first.saturating_sub(second);
    ensure!(
        passed + slack >= world.short(),
        "{:?} passed, the lease lost {passed:?}",
        world.short()
    );
    Ok(())
}

pub(crate) async fn a_repeated_acquire_is_granted_the_same_lease<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    for ask in [ask, ask.without_takeover()] {
        let repeated = world.granted(ask).await?;
        ensure!(repeated.token == first.token, "the repetition has another token");
        ensure!(repeated.attempt == 1, "the repetition is attempt {}", repeated.attempt);
        ensure!(repeated.id == first.id, "the repetition has another id");
    }
    world.store.complete(&first, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_repeated_acquire_has_the_whole_lease_again<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let span = world.short() * 2;
    let ask = ask().lease_for(span);
    world.granted(ask).await?;
    world.pass(span / 2).await;
    let watch = world.watch(span);
    world.granted(ask).await?;
    world.pass(span * 5 / 8).await;
    // The first lease would be over by now.
    let answer = ask.again().without_takeover().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::InFlight { .. } => (), "the repeated lease to hold");
    Ok(())
}

pub(crate) async fn an_acquire_in_flight_does_not_extend_the_lease<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let watch = world.watch(world.short());
    world.granted(ask.lease_for(world.short())).await?;
    let answer = ask.again().lease_for(LONG).of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::InFlight { .. } => (), "InFlight");
    watch.over().await;
    world.abandoned(ask.again().without_takeover()).await?;
    Ok(())
}

pub(crate) async fn the_last_released_lease_id_is_refused<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    for ask in [ask, ask.without_takeover()] {
        world.lost(ask.key, ask.of(&*world.store)).await?;
    }
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 2, "the attempt after a release is number {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_completed_key_is_answered_with_its_record<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    for ask in [ask.again(), ask.again().without_takeover()] {
        let (record, expires_in) = world.replayed(ask).await?;
        ensure!(record == ask.record("42"), "another record is replayed: {record:?}");
        let most = LONG + world.capabilities.precision;
        ensure!(expires_in <= most, "a ttl of {LONG:?} ends in {expires_in:?}");
        ensure!(expires_in > LONG / 2, "a new ttl of {LONG:?} ends in {expires_in:?}");
    }
    Ok(())
}

pub(crate) async fn the_owner_that_asks_again_after_its_completion_is_given_the_record<
    H: Harness,
>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let (record, _) = world.replayed(ask).await?;
    ensure!(record == ask.record("42"), "another record is replayed: {record:?}");
    Ok(())
}

pub(crate) async fn keys_that_differ_in_one_bit_are_strangers<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let bytes = *ask.key.as_bytes();
    for bit in 0..256 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let lease = world.granted(ask_for(StorageKey::from_bytes(bytes))).await?;
        ensure!(lease.attempt == 1, "bit {bit} of a key makes no difference");
    }
    Ok(())
}

pub(crate) async fn keys_that_differ_only_in_their_split_are_strangers<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let salt: [u8; 16] = rand::random();
    let derive = |scope: &str, operation: &str, key: &str| {
        StorageKey::derive(None, Some(&(salt, scope)), operation, &key)
    };
    let keys = [
        derive("a", "b", "cd"),
        derive("a", "bc", "d"),
        derive("ab", "c", "d"),
        derive("abcd", "", ""),
        derive("", "", "abcd"),
        derive("a:b", "c", "d"),
        derive("a", "b:c", "d"),
        StorageKey::derive(None, None, "op", &(salt, "a", "bc")),
        StorageKey::derive(None, None, "op", &(salt, "ab", "c")),
        StorageKey::derive(None, None, "op", &(salt, ("a", "bc"))),
    ];
    for (n, key) in keys.into_iter().enumerate() {
        let lease = world.granted(ask_for(key)).await?;
        ensure!(lease.attempt == 1, "key {n} meets another");
        if n % 2 == 0 {
            world.store.release(&lease, LONG).await?;
        }
    }
    Ok(())
}

pub(crate) async fn keys_are_any_32_bytes<H: Harness>(world: &World<H>) -> Verdict {
    let fillings: [&[u8]; 12] = [
        &[0],
        &[0xff],
        b" ",
        b"\n",
        b"{}",
        b"'",
        b"\"\\",
        b"%_",
        b"*?",
        b"\xc3\x28",
        b":",
        b"\r\n$5\r\n",
    ];
    for filling in fillings {
        // Random in front, so that those who share the backend do not meet.
        let mut bytes: [u8; 32] = rand::random();
        bytes[12..].iter_mut().zip(filling.iter().cycle()).for_each(|(to, from)| *to = *from);
        let ask = ask_for(StorageKey::from_bytes(bytes));
        let lease = world.completed(ask, b"42").await?;
        ensure!(lease.key == ask.key, "the lease is of another key than {filling:?}");
        let (record, _) = world.replayed(ask.again()).await?;
        ensure!(record == ask.record("42"), "another record for {filling:?}");
        bytes[31] ^= 1;
        world.granted(ask_for(StorageKey::from_bytes(bytes))).await?;
    }
    Ok(())
}

pub(crate) async fn lease_ids_that_differ_in_one_bit_are_strangers<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    for bit in 0..128 {
        let mut bytes = *ask.id.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let id = LeaseId::from_bytes(bytes);
        world.in_flight(ask.with_id(id)).await?;
        let mut other = lease.clone();
        other.id = id;
        let answer = world.store.renew(&other, LONG).await;
        answered!(answer, Err(StoreError::LeaseLost) => (), "bit {bit} of a lease id to be compared");
    }
    Ok(())
}
