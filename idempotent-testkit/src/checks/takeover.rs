//! Leases that end: by themselves, by their owner; who has the key then, and with which token.

use idempotent_runtime::{Acquired, Store};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{LONG, World, ask},
};

pub(crate) async fn a_lease_holds_until_its_end_and_not_much_longer<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let watch = world.watch(world.short());
    world.granted(ask.lease_for(world.short())).await?;
    watch.nearly().await;
    let answer = ask.again().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::InFlight { .. } => (), "a live lease to be InFlight");
    watch.over().await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "abandoned", "a lease that ran out is {}", seen.state);
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over_by_the_next_attempt<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let first = world.lapsed(ask).await?;
    let second = world.granted(ask.again()).await?;
    ensure!(second.attempt == 2, "the one that takes over is attempt {}", second.attempt);
    ensure!(second.token > first.token, "the token did not grow: {}", second.token);
    world.in_flight(ask.again()).await?;
    world.store.complete(&second, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn without_takeover_an_abandoned_key_is_told_and_kept<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    let before = world.seen(&ask.key).await?;
    for _ in 0..2 {
        let attempt = world.abandoned(ask.again().without_takeover()).await?;
        ensure!(attempt == 1, "attempt {attempt} was abandoned rather than 1");
    }
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "Abandoned changed the key from {before:?} to {after:?}");
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_completed_by_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.complete(&lease, ask.record("late and true"), LONG).await?;
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("late and true"), "another record is replayed");
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_renewed_by_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.renew(&lease, LONG).await?;
    world.in_flight(ask.again()).await?;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.token == Some(lease.token), "the renewal changed the token");
    ensure!(seen.attempt == Some(1), "the renewal changed the attempt");
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_released_by_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.release(&lease, LONG).await?;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "released", "the released lease is {}", seen.state);
    world.granted(ask.again().without_takeover()).await?;
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_freed_by_its_owner<H: Harness>(world: &World<H>) -> Verdict {
    let lapsed = ask();
    let late = world.lapsed(lapsed).await?;
    let given_up = ask();
    let lease = world.granted(given_up).await?;
    world.store.abandon(&lease).await?;
    for (ask, lease) in [(lapsed, late), (given_up, lease)] {
        world.store.free(&lease, LONG).await?;
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "the freed lease is {}", seen.state);
        let next = world.granted(ask.again().other_request().without_takeover()).await?;
        ensure!(next.attempt == 1, "after a lease that was freed comes attempt {}", next.attempt);
    }
    Ok(())
}

pub(crate) async fn a_lapsed_lease_reserves_a_step_for_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.reserve_step(&lease, LONG).await?;
    world.in_flight(ask.again()).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_abandoned_by_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.abandon(&lease).await?;
    world.lost(ask.key, world.store.renew(&lease, LONG)).await?;
    let attempt = world.abandoned(ask.again().without_takeover()).await?;
    ensure!(attempt == 1, "attempt {attempt} was abandoned rather than 1");
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn a_lapsed_lease_saves_steps_of_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.steps.contains_key("charge"), "the step was lost: {:?}", next.steps);
    Ok(())
}

pub(crate) async fn a_lapsed_lease_is_granted_again_to_its_id<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    let again = world.granted(ask.without_takeover()).await?;
    ensure!(again.token == lease.token, "the repetition has another token");
    ensure!(again.attempt == 1, "the repetition is attempt {}", again.attempt);
    world.in_flight(ask.again()).await?;
    Ok(())
}

pub(crate) async fn a_renewed_lease_lasts_from_its_renewal<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let span = world.short() * 2;
    let ask = ask();
    let lease = world.granted(ask.lease_for(span)).await?;
    world.pass(span / 2).await;
    let watch = world.watch(span);
    world.store.renew(&lease, span).await?;
    world.pass(span * 5 / 8).await;
    // The first lease would be over by now.
    let answer = ask.again().without_takeover().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::InFlight { .. } => (), "the renewed lease to hold");
    watch.over().await;
    world.abandoned(ask.again().without_takeover()).await?;
    Ok(())
}

pub(crate) async fn an_abandoned_lease_ends_at_once<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.abandon(&lease).await?;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "abandoned", "the abandoned lease is {}", seen.state);
    let attempt = world.abandoned(ask.again().without_takeover()).await?;
    ensure!(attempt == 1, "attempt {attempt} was abandoned rather than 1");
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 2, "the one that takes over is attempt {}", next.attempt);
    ensure!(next.token > lease.token, "the token did not grow: {}", next.token);
    Ok(())
}

pub(crate) async fn renew_after_abandon_is_refused<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.abandon(&lease).await?;
    world.lost(ask.key, world.store.renew(&lease, LONG)).await?;
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn an_abandoned_lease_is_still_completed_by_its_owner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.abandon(&lease).await?;
    world.store.complete(&lease, ask.record("late and true"), LONG).await?;
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("late and true"), "another record is replayed");
    Ok(())
}

pub(crate) async fn attempts_are_counted_across_release_and_takeover<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    for attempt in 1..=12 {
        let lease = world.granted(ask.again()).await?;
        ensure!(lease.attempt == attempt, "attempt {attempt} is number {}", lease.attempt);
        if attempt % 2 == 0 {
            world.store.release(&lease, LONG).await?;
        } else {
            world.store.abandon(&lease).await?;
        }
    }
    Ok(())
}

pub(crate) async fn tokens_grow_across_release<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let mut last = None;
    for _ in 0..8 {
        let lease = world.granted(ask.again()).await?;
        ensure!(last < Some(lease.token), "the token {} came after {last:?}", lease.token);
        last = Some(lease.token);
        world.store.release(&lease, LONG).await?;
    }
    Ok(())
}

pub(crate) async fn tokens_grow_across_takeover<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let mut last = None;
    for _ in 0..8 {
        let lease = world.granted(ask.again()).await?;
        ensure!(last < Some(lease.token), "the token {} came after {last:?}", lease.token);
        last = Some(lease.token);
        world.store.abandon(&lease).await?;
    }
    Ok(())
}

pub(crate) async fn tokens_grow_across_forget<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let mut last = None;
    for round in 0..8 {
        let lease = world.granted(ask.again()).await?;
        ensure!(last < Some(lease.token), "the token {} came after {last:?}", lease.token);
        last = Some(lease.token);
        match round % 3 {
            0 => world.store.release(&lease, LONG).await?,
            1 => world.store.complete(&lease, ask.record("42"), LONG).await?,
            _ => {}
        }
        ensure!(world.store.forget(&ask.key, true).await?, "forget found nothing");
    }
    Ok(())
}

pub(crate) async fn tokens_grow_across_records<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    world.store.complete(&first, ask.record("42"), world.short()).await?;
    world.outlast(world.short()).await;
    let second = world.granted(ask.again()).await?;
    ensure!(second.token > first.token, "the token {} came after {}", second.token, first.token);
    Ok(())
}
