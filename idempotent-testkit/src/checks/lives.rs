//! The lives of a key: all attempts of one are told by the token of the first.

use idempotent_runtime::{FencingToken, Lease, Store};

use crate::{
    harness::Harness,
    verdict::{Verdict, ensure},
    world::{Ask, LONG, World, ask},
};

/// Expects the first attempt of a life that began after `ended`.
fn is_another_life(lease: &Lease, ended: &Lease) -> Verdict {
    ensure!(lease.attempt == 1, "a life begins with attempt {}", lease.attempt);
    ensure!(
        lease.first_token == lease.token,
        "attempt 1 has the token {} and the first token {}",
        lease.token,
        lease.first_token
    );
    ensure!(
        lease.first_token > ended.token,
        "the first token {} came after {}",
        lease.first_token,
        ended.token
    );
    Ok(())
}

fn is_attempt(lease: &Lease, attempt: u32, first: FencingToken) -> Verdict {
    ensure!(lease.attempt == attempt, "attempt {attempt} is number {}", lease.attempt);
    ensure!(
        lease.first_token == first,
        "attempt {attempt} has the first token {} rather than {first}",
        lease.first_token
    );
    Ok(())
}

pub(crate) async fn the_first_token_is_that_of_the_first_attempt<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let lease = world.granted(ask()).await?;
    is_attempt(&lease, 1, lease.token)
}

pub(crate) async fn the_first_token_is_kept_across_release<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let mut lease = world.granted(ask).await?;
    let first = lease.token;
    for attempt in 2..5 {
        world.store.release(&lease, LONG).await?;
        lease = world.granted(ask.again()).await?;
        is_attempt(&lease, attempt, first)?;
    }
    Ok(())
}

pub(crate) async fn the_first_token_is_kept_across_takeover<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    let first = lease.token;
    for attempt in 2..5 {
        let lease = world.granted(ask.again()).await?;
        is_attempt(&lease, attempt, first)?;
        world.store.abandon(&lease).await?;
    }
    Ok(())
}

pub(crate) async fn a_repeated_acquire_has_the_same_first_token<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    is_attempt(&world.granted(ask).await?, 1, lease.token)?;
    world.store.release(&lease, LONG).await?;
    let second = ask.again();
    world.granted(second).await?;
    is_attempt(&world.granted(second).await?, 2, lease.token)?;
    // Also of a lease that was given up.
    let third = second.again();
    world.store.abandon(&world.granted(second).await?).await?;
    world.store.abandon(&world.granted(third).await?).await?;
    is_attempt(&world.granted(third).await?, 3, lease.token)
}

/// A second attempt, the first of which was given back.
async fn second<H: Harness>(world: &World<H>, ask: Ask) -> Verdict<Lease> {
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    world.granted(ask.again()).await
}

pub(crate) async fn each_life_has_a_first_token_of_its_own<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let span = world.short();
    let (ended, released, abandoned, forgotten, freed) = (ask(), ask(), ask(), ask(), ask());
    let mut lives = Vec::new();
    let lease = second(world, ended).await?;
    world.store.complete(&lease, ended.record("42"), span).await?;
    lives.push((ended, lease));
    let lease = second(world, released).await?;
    world.store.release(&lease, span).await?;
    lives.push((released, lease));
    let lease = second(world, abandoned.remembered_for(span)).await?;
    world.store.abandon(&lease).await?;
    lives.push((abandoned, lease));
    let lease = second(world, forgotten).await?;
    world.store.forget(&forgotten.key, true).await?;
    lives.push((forgotten, lease));
    let lease = second(world, freed).await?;
    world.store.free(&lease, LONG).await?;
    lives.push((freed, lease));
    world.outlast(span).await;
    for (ask, ended) in lives {
        let next = world.granted(ask.again()).await?;
        is_another_life(&next, &ended)?;
        world.store.release(&next, LONG).await?;
        is_attempt(&world.granted(ask.again()).await?, 2, next.token)?;
    }
    Ok(())
}
