//! How long what is known: records for their ttl, released and abandoned keys for their retention.

use std::time::Duration;

use bytes::Bytes;
use idempotent_runtime::{Acquired, Store};

use crate::{
    harness::{Clock, Harness},
    verdict::{Stop, Verdict, answered, ensure},
    world::{LONG, World, ask},
};

const YEAR: Duration = Duration::from_hours(24 * 365);

pub(crate) async fn a_record_is_replayed_until_its_ttl_and_not_much_longer<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let watch = world.watch(world.short());
    world.store.complete(&lease, ask.record("42"), world.short()).await?;
    watch.nearly().await;
    let answer = ask.again().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::Completed { .. } => (), "a live record to be replayed");
    watch.over().await;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "an operation begins with attempt {}", next.attempt);
    Ok(())
}

pub(crate) async fn an_expired_record_is_shown_nowhere<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let watch = world.watch(world.short());
    world.store.complete(&lease, ask.record("42"), world.short()).await?;
    // In every cache there may be.
    world.store.inspect(&ask.key).await?;
    ask.again().of(&*world.store).await?;
    watch.still()?;
    world.outlast(world.short()).await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "an expired record is {}", seen.state);
    ensure!(world.store.recall(&ask.key).is_none(), "an expired record is recalled");
    ensure!(!world.store.forget(&ask.key, false).await?, "an expired record could be forgotten");
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn the_time_that_is_left_of_a_record_counts_down<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let (_, first) = world.replayed(ask.again()).await?;
    world.pass(world.short()).await;
    let (_, second) = world.replayed(ask.again()).await?;
    let passed = first.saturating_sub(second);
    let slack = world.capabilities.precision;
    ensure!(
        passed + slack >= world.short(),
        "{:?} passed, the record lost {passed:?}",
        world.short()
    );
    Ok(())
}

pub(crate) async fn a_released_key_is_remembered_for_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let watch = world.watch(world.short());
    world.store.release(&lease, world.short()).await?;
    watch.nearly().await;
    let answer = ask.again().other_request().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::FingerprintMismatch => (), "a released key to be remembered");
    watch.over().await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "after its retention a released key is {}", seen.state);
    let next = world.granted(ask.again().other_request()).await?;
    ensure!(next.attempt == 1, "an operation begins with attempt {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_key_whose_lease_ran_out_is_remembered_for_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    world.granted(ask.lease_for(span).remembered_for(span)).await?;
    watch.nearly().await;
    let answer = ask.again().other_request().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::FingerprintMismatch => (), "an abandoned key to be remembered");
    watch.over().await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "after its retention an abandoned key is {}", seen.state);
    let next = world.granted(ask.again().other_request()).await?;
    ensure!(next.attempt == 1, "an operation begins with attempt {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_key_that_was_given_up_is_remembered_for_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask.remembered_for(world.short())).await?;
    let watch = world.watch(world.short());
    world.store.abandon(&lease).await?;
    watch.nearly().await;
    let answer = ask.again().without_takeover().of(&*world.store).await?;
    watch.still()?;
    answered!(answer, Acquired::Abandoned { .. } => (), "an abandoned key to be remembered");
    watch.over().await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "after its retention an abandoned key is {}", seen.state);
    Ok(())
}

pub(crate) async fn until_it_is_resolved_an_abandoned_key_is_kept<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let halting = ask().until_resolved().without_takeover();
    let lapsed = world.granted(halting.lease_for(world.short())).await?;
    let given_up = halting.again().with_key(ask().key);
    let lease = world.granted(given_up).await?;
    world.store.abandon(&lease).await?;
    match H::CLOCK {
        Clock::Real => world.outlast(world.short() * 3).await,
        Clock::Paused | Clock::Manual => world.pass(YEAR * 100).await,
    }
    world.store.purge_expired(10_000).await?;
    for ask in [halting, given_up] {
        world.abandoned(ask.again()).await?;
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "abandoned", "an unresolved key is {}", seen.state);
    }
    // Its owner may still tell the outcome, or a person that there is none.
    world.store.complete(&lapsed, halting.record("42"), LONG).await?;
    world.replayed(halting.again()).await?;
    ensure!(world.store.forget(&given_up.key, false).await?, "forget found nothing");
    world.granted(given_up.again()).await?;
    Ok(())
}

pub(crate) async fn a_key_whose_retention_is_over_begins_anew<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let in_time = world.store.save_step(&lease, "charge", "7".into()).await;
    watch.still()?;
    in_time?;
    world.outlast(span * 2).await;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "an operation begins with attempt {}", next.attempt);
    ensure!(next.steps.is_empty(), "an operation begins with steps: {:?}", next.steps);
    ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    Ok(())
}

pub(crate) async fn an_owner_that_outlasts_the_retention_has_lost_its_lease<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    world.outlast(span * 2).await;
    world.lost(ask.key, world.store.renew(&lease, LONG)).await?;
    world.lost(ask.key, world.store.save_step(&lease, "late", "7".into())).await?;
    world.lost(ask.key, world.store.release(&lease, LONG)).await?;
    world.lost(ask.key, world.store.complete(&lease, ask.record("42"), LONG)).await?;
    Ok(())
}

pub(crate) async fn a_record_outlives_the_lease_it_came_from<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let in_time = world.store.complete(&lease, ask.record("42"), LONG).await;
    watch.still()?;
    in_time?;
    world.outlast(span * 2).await;
    world.store.purge_expired(1000).await?;
    world.replayed(ask.again()).await?;
    Ok(())
}

pub(crate) async fn a_renewed_lease_outlives_the_retention_it_began_with<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let in_time = world.store.renew(&lease, LONG).await;
    watch.still()?;
    in_time?;
    world.outlast(span * 2).await;
    world.store.purge_expired(1000).await?;
    world.in_flight(ask.again()).await?;
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_takeover_is_remembered_as_it_asks_itself<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let first = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let given_up = world.store.abandon(&first).await;
    watch.still()?;
    given_up?;
    let second = ask.again().lease_for(span).of(&*world.store).await?;
    // Abandoned early, the key is remembered less long.
    if watch.elapsed() >= span && H::CLOCK == Clock::Real {
        return Err(Stop::TooSlow);
    }
    answered!(second, Acquired::Granted(_) => (), "a lease");
    world.outlast(span * 2).await;
    world.store.purge_expired(1000).await?;
    let attempt = world.abandoned(ask.again().without_takeover()).await?;
    ensure!(attempt == 2, "attempt {attempt} was abandoned rather than 2");
    Ok(())
}

pub(crate) async fn a_released_key_that_is_leased_again_outlives_its_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let first = world.granted(ask).await?;
    world.store.release(&first, LONG).await?;
    let second = world.granted(ask.again()).await?;
    world.store.release(&second, span).await?;
    let answer = ask.again().of(&*world.store).await?;
    let third = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
    world.outlast(span).await;
    world.store.purge_expired(1000).await?;
    world.in_flight(ask.again()).await?;
    world.store.complete(&third, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_release_is_remembered_longer_than_its_lease_would_be<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let watch = world.watch(span * 2);
    let lease = world.granted(ask.lease_for(span).remembered_for(span)).await?;
    let in_time = world.store.release(&lease, LONG).await;
    watch.still()?;
    in_time?;
    world.outlast(span * 2).await;
    world.store.purge_expired(1000).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 2, "the attempt after a release is number {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_lease_of_a_millisecond_runs_out_and_is_remembered<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for span in [Duration::from_millis(1), Duration::from_micros(1500)] {
        let ask = ask();
        let lease = world.granted(ask.lease_for(span)).await?;
        world.outlast(span).await;
        let next = world.granted(ask.again()).await?;
        ensure!(next.attempt == 2, "after a lease of {span:?} comes attempt {}", next.attempt);
        ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    }
    Ok(())
}

pub(crate) async fn a_ttl_of_a_millisecond_ends<H: Harness>(world: &World<H>) -> Verdict {
    let (ask, span) = (ask(), Duration::from_millis(1));
    let lease = world.granted(ask).await?;
    world.store.complete(&lease, ask.record("42"), span).await?;
    world.outlast(span).await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "a record of a millisecond is {}", seen.state);
    let lease = world.granted(ask.again()).await?;
    world.store.release(&lease, span).await?;
    world.outlast(span).await;
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "a retention of a millisecond leaves it {}", seen.state);
    world.granted(ask.again().other_request()).await?;
    Ok(())
}

pub(crate) async fn spans_of_a_century_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let (asked, span) = (ask(), YEAR * 100);
    let lease = world.granted(asked.lease_for(span).remembered_for(span)).await?;
    let left = world.in_flight(asked.again()).await?;
    ensure!(left > YEAR * 99, "{left:?} are left of a lease of a century");
    world.store.renew(&lease, span).await?;
    world.in_flight(asked.again()).await?;
    world.store.complete(&lease, asked.record("42"), span).await?;
    let (_, left) = world.replayed(asked.again()).await?;
    ensure!(left > YEAR * 99, "{left:?} are left of a record of a century");

    let asked = ask();
    let lease = world.granted(asked).await?;
    world.store.release(&lease, span).await?;
    let seen = world.seen(&asked.key).await?;
    ensure!(seen.state == "released", "a key to be remembered for a century is {}", seen.state);
    Ok(())
}

pub(crate) async fn steps_leave_the_lease_as_long_as_it_was<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, span) = (ask(), world.short());
    let lease = world.granted(ask.lease_for(span)).await?;
    world.store.save_step(&lease, "charge", Bytes::from_static(b"7")).await?;
    world.outlast(span).await;
    world.abandoned(ask.again().without_takeover()).await?;
    Ok(())
}
