//! Whose key it is: compared before anything else, in every state.

use idempotent_runtime::{Fingerprint, Store};

use crate::{
    harness::Harness,
    verdict::{Verdict, ensure},
    world::{Ask, LONG, World, ask},
};

/// With a new lease id and with one that was seen, with takeover and without.
async fn refused<H: Harness>(world: &World<H>, ask: Ask) -> Verdict {
    let before = world.seen(&ask.key).await?;
    for other in [ask.again(), ask, ask.again().without_takeover(), ask.without_takeover()] {
        world.mismatched(other.other_request()).await?;
    }
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "a mismatch changed the key from {before:?} to {after:?}");
    Ok(())
}

pub(crate) async fn a_leased_key_refuses_another_request<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    refused(world, ask).await?;
    world.in_flight(ask.again()).await?;
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_released_key_refuses_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    refused(world, ask).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 2, "the attempt after a release is number {}", next.attempt);
    Ok(())
}

pub(crate) async fn an_abandoned_key_refuses_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    world.lapsed(asked).await?;
    refused(world, asked).await?;
    world.granted(asked.again()).await?;

    // Given up by its owner rather than run out.
    let asked = ask();
    let lease = world.granted(asked).await?;
    world.store.abandon(&lease).await?;
    refused(world, asked).await?;
    world.granted(asked.again()).await?;
    Ok(())
}

pub(crate) async fn a_completed_key_refuses_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    refused(world, ask).await?;
    // Once more, when it is in any cache.
    world.replayed(ask.again()).await?;
    refused(world, ask).await?;
    world.replayed(ask.again()).await?;
    Ok(())
}

pub(crate) async fn the_fingerprint_is_compared_before_the_released_lease_id<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    world.mismatched(ask.other_request()).await?;
    Ok(())
}

pub(crate) async fn fingerprints_that_differ_in_one_bit_are_others<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let running = ask();
    world.granted(running).await?;
    let ended = ask();
    world.completed(ended, b"42").await?;
    for bit in 0..256 {
        for ask in [running, ended] {
            let mut bytes = *ask.fingerprint.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let fingerprint = Fingerprint::from_bytes(bytes);
            world.mismatched(ask.again().with_fingerprint(fingerprint)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn an_expired_record_leaves_the_key_to_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.complete(&lease, ask.record("42"), world.short()).await?;
    world.outlast(world.short()).await;
    let next = world.granted(ask.again().other_request()).await?;
    ensure!(next.attempt == 1, "another request begins with attempt {}", next.attempt);
    ensure!(next.steps.is_empty(), "another request inherits steps: {:?}", next.steps);
    Ok(())
}

pub(crate) async fn a_forgotten_key_is_free_for_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.release(&lease, LONG).await?;
    ensure!(world.store.forget(&ask.key, false).await?, "forget found nothing");
    let next = world.granted(ask.again().other_request()).await?;
    ensure!(next.attempt == 1, "another request begins with attempt {}", next.attempt);
    ensure!(next.steps.is_empty(), "another request inherits steps: {:?}", next.steps);
    Ok(())
}
