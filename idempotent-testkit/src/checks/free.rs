//! Keys that are given back as if they had never been asked for.

use idempotent_runtime::{Acquired, Store, StoreError};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{Ask, LONG, World, ask},
};

/// Frees a first attempt that saved a step, and expects that `next` meets nothing of it.
async fn begins_anew<H: Harness>(world: &World<H>, first: Ask, next: Ask) -> Verdict {
    let lease = world.granted(first).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.free(&lease, LONG).await?;
    let owner = world.granted(next).await?;
    ensure!(owner.attempt == 1, "a freed key goes on with attempt {}", owner.attempt);
    ensure!(owner.steps.is_empty(), "a freed key has steps: {:?}", owner.steps);
    ensure!(owner.token > lease.token, "the token {} came after {}", owner.token, lease.token);
    ensure!(owner.first_token == owner.token, "a freed key goes on with its old first token");
    // And it is a lease as any other.
    world.in_flight(next.again()).await?;
    let stranger = if next.fingerprint == first.fingerprint { next.other_request() } else { first };
    world.mismatched(stranger.again()).await?;
    world.store.save_step(&owner, "charge", "8".into()).await?;
    world.store.complete(&owner, next.record("42"), LONG).await?;
    let (record, _) = world.replayed(next.again()).await?;
    ensure!(record == next.record("42"), "another record is replayed: {record:?}");
    Ok(())
}

pub(crate) async fn a_freed_key_begins_anew_for_the_same_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    begins_anew(world, asked, asked.again()).await?;
    let asked = ask();
    begins_anew(world, asked, asked.again().without_takeover()).await
}

pub(crate) async fn a_freed_key_begins_anew_for_another_request<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    begins_anew(world, asked, asked.again().other_request()).await?;
    let asked = ask();
    begins_anew(world, asked, asked.again().other_request().without_takeover()).await
}

pub(crate) async fn a_freed_key_is_shown_nowhere<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.free(&lease, LONG).await?;
    for _ in 0..2 {
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "a freed key is shown as {}", seen.state);
    }
    ensure!(world.store.recall(&ask.key).is_none(), "a freed key has a record");
    for force in [false, true] {
        ensure!(!world.store.forget(&ask.key, force).await?, "forget found a freed key");
    }
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "a freed key goes on with attempt {}", next.attempt);
    ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    Ok(())
}

pub(crate) async fn the_freed_lease_id_is_refused<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.free(&lease, LONG).await?;
    for late in [ask, ask.without_takeover(), ask.other_request()] {
        world.lost(ask.key, late.of(&*world.store)).await?;
    }
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "a refused acquire counts as an attempt");
    Ok(())
}

pub(crate) async fn a_freed_key_holds_its_id_for_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let watch = world.watch(world.short());
    world.store.free(&lease, world.short()).await?;
    watch.nearly().await;
    let answer = ask.of(&*world.store).await;
    watch.still()?;
    answered!(answer, Err(StoreError::LeaseLost) => (), "LeaseLost for the freed lease id");
    watch.over().await;
    let next = world.granted(ask.other_request()).await?;
    ensure!(next.attempt == 1, "an operation begins with attempt {}", next.attempt);
    ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    Ok(())
}

pub(crate) async fn a_free_is_remembered_longer_than_its_lease_would_be<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let in_time = world.store.free(&lease, LONG).await;
    watch.still()?;
    in_time?;
    world.outlast(span * 2).await;
    world.store.purge_expired(1000).await?;
    world.lost(ask.key, ask.of(&*world.store)).await
}

pub(crate) async fn a_freed_key_that_is_leased_again_outlives_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let first = world.granted(ask).await?;
    world.store.free(&first, span).await?;
    let answer = ask.again().other_request().of(&*world.store).await?;
    let second = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
    world.outlast(span).await;
    world.store.purge_expired(1000).await?;
    world.mismatched(ask.again()).await?;
    world.store.complete(&second, ask.other_request().record("42"), LONG).await?;
    world.replayed(ask.again().other_request()).await?;
    Ok(())
}

pub(crate) async fn a_second_attempt_that_is_freed_leaves_nothing_of_the_first<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    world.store.save_step(&first, "charge", "7".into()).await?;
    world.store.abandon(&first).await?;
    let second = world.granted(ask.again()).await?;
    ensure!(second.steps.contains_key("charge"), "the step was lost: {:?}", second.steps);
    world.store.free(&second, LONG).await?;
    let next = ask.again().other_request();
    let third = world.granted(next).await?;
    ensure!(third.attempt == 1, "a freed key goes on with attempt {}", third.attempt);
    ensure!(third.first_token == third.token, "a freed key goes on with its old first token");
    ensure!(third.steps.is_empty(), "a freed key has steps: {:?}", third.steps);
    world.store.save_step(&third, "mail", "sent".into()).await?;
    world.store.release(&third, LONG).await?;
    let fourth = world.granted(next.again()).await?;
    ensure!(fourth.attempt == 2, "the attempt after a release is number {}", fourth.attempt);
    let names: Vec<_> = fourth.steps.keys().collect();
    ensure!(names == ["mail"], "after free and release there are the steps {names:?}");
    Ok(())
}

pub(crate) async fn tokens_grow_across_free<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let mut last = None;
    for round in 0..8 {
        let ask = if round % 2 == 0 { ask } else { ask.other_request() };
        let lease = world.granted(ask.again()).await?;
        ensure!(last < Some(lease.token), "the token {} came after {last:?}", lease.token);
        ensure!(lease.attempt == 1, "a freed key goes on with attempt {}", lease.attempt);
        last = Some(lease.token);
        world.store.free(&lease, LONG).await?;
    }
    Ok(())
}
