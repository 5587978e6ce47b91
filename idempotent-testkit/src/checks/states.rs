//! `inspect`: what people, tools and waiters are shown.

use idempotent_runtime::{KeyState, Lease, Store};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{Ask, LONG, Seen, World, ask},
};

/// Expects a state without an outcome.
pub(super) fn shows(seen: &Seen, state: &str, ask: Ask, lease: &Lease) -> Verdict {
    ensure!(seen.state == state, "a {state} key is shown as {}", seen.state);
    ensure!(seen.fingerprint == Some(ask.fingerprint), "a {state} key shows another fingerprint");
    ensure!(seen.attempt == Some(lease.attempt), "a {state} key shows attempt {:?}", seen.attempt);
    ensure!(seen.token == Some(lease.token), "a {state} key shows token {:?}", seen.token);
    let name = seen.operation.as_deref();
    ensure!(name == Some(ask.operation), "a {state} key shows the operation {name:?}");
    ensure!(seen.ttl == Some(ask.ttl), "a {state} key shows a ttl of {:?}", seen.ttl);
    Ok(())
}

pub(crate) async fn an_unknown_key_is_absent_and_stays_so<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    for _ in 0..3 {
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "an unknown key is shown as {}", seen.state);
    }
    ensure!(!world.store.forget(&ask.key, true).await?, "inspect left something behind");
    let lease = world.granted(ask).await?;
    ensure!(lease.attempt == 1, "inspect counts as an attempt");
    Ok(())
}

pub(crate) async fn a_leased_key_is_shown_with_the_time_that_is_left<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    shows(&world.seen(&ask.key).await?, "leased", ask, &lease)?;
    let slack = world.capabilities.precision;
    let state = world.store.inspect(&ask.key).await?;
    let left = answered!(state, KeyState::Leased { expires_in, .. } => expires_in, "Leased");
    ensure!(left <= LONG + slack && left > LONG / 2, "{left:?} are left of a lease of {LONG:?}");
    world.store.renew(&lease, LONG * 4).await?;
    let state = world.store.inspect(&ask.key).await?;
    let left = answered!(state, KeyState::Leased { expires_in, .. } => expires_in, "Leased");
    ensure!(left > LONG * 3, "{left:?} are left of a lease renewed for {:?}", LONG * 4);
    Ok(())
}

pub(crate) async fn a_released_key_is_shown<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    world.store.release(&first, LONG).await?;
    shows(&world.seen(&ask.key).await?, "released", ask, &first)?;
    let second = world.granted(ask.again()).await?;
    shows(&world.seen(&ask.key).await?, "leased", ask, &second)?;
    world.store.release(&second, LONG).await?;
    shows(&world.seen(&ask.key).await?, "released", ask, &second)
}

pub(crate) async fn an_abandoned_key_is_shown<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let first = world.lapsed(ask).await?;
    shows(&world.seen(&ask.key).await?, "abandoned", ask, &first)?;
    let second = world.granted(ask.again()).await?;
    world.store.abandon(&second).await?;
    shows(&world.seen(&ask.key).await?, "abandoned", ask, &second)
}

pub(crate) async fn a_completed_key_is_shown_with_its_record<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let state = world.store.inspect(&ask.key).await?;
    let (record, left) = answered!(
        state, KeyState::Completed { record, expires_in } => (record, expires_in), "Completed"
    );
    ensure!(record == ask.record("42"), "another record is shown: {record:?}");
    let slack = world.capabilities.precision;
    ensure!(left <= LONG + slack && left > LONG / 2, "{left:?} are left of a ttl of {LONG:?}");
    Ok(())
}

pub(crate) async fn looking_extends_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let (leased, ended, span) = (ask(), ask(), world.short());
    let lease = world.granted(ended).await?;
    world.store.complete(&lease, ended.record("42"), span).await?;
    world.granted(leased.lease_for(span)).await?;
    for _ in 0..4 {
        world.pass(span / 4).await;
        world.store.inspect(&leased.key).await?;
        world.store.inspect(&ended.key).await?;
        ended.again().of(&*world.store).await?;
    }
    world.pass(world.capabilities.precision).await;
    let seen = world.seen(&leased.key).await?;
    ensure!(seen.state == "abandoned", "a lease that was looked at is {} at its end", seen.state);
    world.granted(leased.again()).await?;
    Ok(())
}

pub(crate) async fn looking_harms_no_owner<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    for _ in 0..3 {
        shows(&world.seen(&ask.key).await?, "abandoned", ask, &lease)?;
    }
    world.store.renew(&lease, LONG).await?;
    for _ in 0..3 {
        shows(&world.seen(&ask.key).await?, "leased", ask, &lease)?;
    }
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}
