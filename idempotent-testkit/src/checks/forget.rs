//! `forget` and `purge_expired`: what they take, and above all what they leave.

use idempotent_runtime::{Store, StoreError};

use crate::{
    harness::Harness,
    verdict::{Stop, Verdict, answered, ensure},
    world::{LONG, World, ask},
};

pub(crate) async fn forgetting_an_unknown_key_finds_nothing<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    for force in [false, true, false] {
        ensure!(!world.store.forget(&ask.key, force).await?, "something unknown was forgotten");
    }
    world.granted(ask).await?;
    Ok(())
}

pub(crate) async fn a_released_key_is_forgotten<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    ensure!(world.store.forget(&ask.key, false).await?, "forget found no released key");
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "a forgotten key is {}", seen.state);
    ensure!(!world.store.forget(&ask.key, false).await?, "a key was forgotten twice");
    // Its last lease id too.
    let next = world.granted(ask).await?;
    ensure!(next.attempt == 1, "a forgotten key goes on with attempt {}", next.attempt);
    Ok(())
}

pub(crate) async fn an_abandoned_key_is_forgotten_without_force<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    world.lapsed(asked).await?;
    ensure!(world.store.forget(&asked.key, false).await?, "forget found no abandoned key");
    let next = world.granted(asked.again()).await?;
    ensure!(next.attempt == 1, "a forgotten key goes on with attempt {}", next.attempt);

    let asked = ask();
    let lease = world.granted(asked).await?;
    world.store.abandon(&lease).await?;
    ensure!(world.store.forget(&asked.key, false).await?, "forget found no abandoned key");
    world.lost(asked.key, world.store.complete(&lease, asked.record("42"), LONG)).await
}

pub(crate) async fn a_completed_key_is_forgotten<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    ensure!(world.store.forget(&ask.key, false).await?, "forget found no record");
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "a forgotten key is {}", seen.state);
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "a forgotten key goes on with attempt {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_live_lease_is_not_forgotten_without_force<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    let before = world.seen(&ask.key).await?;
    let answer = world.store.forget(&ask.key, false).await;
    answered!(answer, Err(StoreError::StillLeased) => (), "StillLeased");
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "a refused forget changed the key from {before:?} to {after:?}");
    let again = world.granted(ask).await?;
    ensure!(again.steps.contains_key("charge"), "a refused forget lost a step");
    world.store.complete(&lease, ask.record("42"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_live_lease_is_forgotten_by_force<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    ensure!(world.store.forget(&ask.key, true).await?, "forget found no lease");
    let seen = world.seen(&ask.key).await?;
    ensure!(seen.state == "absent", "a forgotten key is {}", seen.state);
    world.lost(ask.key, world.store.complete(&lease, ask.record("42"), LONG)).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 1, "a forgotten key goes on with attempt {}", next.attempt);
    ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    Ok(())
}

pub(crate) async fn forgetting_one_key_leaves_all_others<H: Harness>(world: &World<H>) -> Verdict {
    let (gone, leased, released, ended) = (ask(), ask(), ask(), ask());
    world.completed(gone, b"42").await?;
    let owner = world.granted(leased).await?;
    let lease = world.granted(released).await?;
    world.store.release(&lease, LONG).await?;
    world.completed(ended, b"42").await?;
    world.store.forget(&gone.key, true).await?;
    world.store.renew(&owner, LONG).await?;
    world.mismatched(released.again().other_request()).await?;
    world.replayed(ended.again()).await?;
    Ok(())
}

pub(crate) async fn a_purge_leaves_everything_alive<H: Harness>(world: &World<H>) -> Verdict {
    let (leased, released, lapsed, ended) = (ask(), ask(), ask(), ask());
    let owner = world.granted(leased).await?;
    world.store.save_step(&owner, "charge", "7".into()).await?;
    let lease = world.granted(released).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.release(&lease, LONG).await?;
    world.completed(ended, b"42").await?;
    let freed = ask();
    let lease = world.granted(freed).await?;
    world.store.free(&lease, LONG).await?;
    let late = world.lapsed(lapsed).await?;
    for _ in 0..2 {
        world.store.purge_expired(100_000).await?;
    }
    world.lost(freed.key, freed.of(&*world.store)).await?;
    world.replayed(ended.again()).await?;
    let again = world.granted(leased).await?;
    ensure!(again.token == owner.token, "a purge took a live lease");
    ensure!(again.steps.contains_key("charge"), "a purge took the step of a live lease");
    let next = world.granted(released.again()).await?;
    ensure!(next.attempt == 2, "a purge took a released key");
    ensure!(next.steps.contains_key("charge"), "a purge took the step of a released key");
    world.abandoned(lapsed.again().without_takeover()).await?;
    world.store.complete(&late, lapsed.record("late and true"), LONG).await?;
    Ok(())
}

pub(crate) async fn a_purge_takes_the_freed_after_their_retention<H: Harness>(
    world: &World<H>,
) -> Verdict {
    if !world.capabilities.purges {
        return Err(Stop::Skipped("the store expires by itself"));
    }
    if !world.capabilities.isolated {
        return Err(Stop::Skipped(
            "others use the backend meanwhile: see `Capabilities::isolated`",
        ));
    }
    for _ in 0..4 {
        let lease = world.granted(ask()).await?;
        world.store.free(&lease, world.short()).await?;
    }
    world.outlast(world.short()).await;
    let gone = world.store.purge_expired(1000).await?;
    // What the store cleared away on its own is not counted.
    ensure!((1..=4).contains(&gone), "4 freed keys are past their retention, a purge took {gone}");
    Ok(())
}

/// Leaves one expired record, one released and one abandoned key behind.
async fn leave_three<H: Harness>(world: &World<H>) -> Verdict {
    let (ended, released, lapsed, span) = (ask(), ask(), ask(), world.short());
    let lease = world.granted(ended).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.complete(&lease, ended.record("42"), span).await?;
    let lease = world.granted(released).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.release(&lease, span).await?;
    world.granted(lapsed.lease_for(span / 2).remembered_for(span / 2)).await?;
    Ok(())
}

pub(crate) async fn a_purge_keeps_to_its_limit<H: Harness>(world: &World<H>) -> Verdict {
    for _ in 0..4 {
        leave_three(world).await?;
    }
    world.outlast(world.short()).await;
    for limit in [0, 1, 5, 1000] {
        let gone = world.store.purge_expired(limit).await?;
        ensure!(gone <= limit, "a purge of at most {limit} took {gone}");
        if !world.capabilities.purges {
            ensure!(gone == 0, "a store that expires by itself purged {gone}");
        }
    }
    Ok(())
}

pub(crate) async fn a_purge_counts_what_it_takes<H: Harness>(world: &World<H>) -> Verdict {
    if !world.capabilities.purges {
        return Err(Stop::Skipped("the store expires by itself"));
    }
    if !world.capabilities.isolated {
        return Err(Stop::Skipped(
            "others use the backend meanwhile: see `Capabilities::isolated`",
        ));
    }
    let purged = async |limit| world.store.purge_expired(limit).await;
    for _ in 0..4 {
        leave_three(world).await?;
    }
    let alive = ask();
    world.completed(alive, b"42").await?;
    world.outlast(world.short()).await;
    let first = purged(5).await?;
    ensure!(first <= 5, "a purge of at most 5 took {first}");
    let mut all = first;
    loop {
        let more = purged(5).await?;
        if more == 0 {
            break;
        }
        all += more;
        ensure!(all <= 12, "12 keys have expired, more than {all} were counted");
    }
    // What the store cleared away on its own is not counted: it may do so when it meets it.
    ensure!(all > 0, "12 keys have expired, and a purge takes none");
    world.replayed(alive.again()).await?;
    Ok(())
}
