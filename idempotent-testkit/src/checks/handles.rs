//! Several handles on one backend, as several processes have.

use idempotent_runtime::{Acquired, Store};

use crate::{
    harness::Harness,
    verdict::{Stop, Verdict, answered, ensure},
    world::{LONG, World, ask},
};

pub(crate) async fn a_lease_is_seen_by_other_handles<H: Harness>(world: &World<H>) -> Verdict {
    let (ask, other) = (ask(), world.handle().await);
    let lease = world.granted(ask).await?;
    let answer = ask.again().of(&*other).await?;
    answered!(answer, Acquired::InFlight { .. } => (), "InFlight");
    // And may be used through them: a lease is of its owner, not of a connection.
    other.renew(&lease, LONG).await?;
    other.save_step(&lease, "charge", "7".into()).await?;
    other.release(&lease, LONG).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.steps.contains_key("charge"), "a step that another handle saved is lost");
    ensure!(next.attempt == 2, "the attempt after a release is number {}", next.attempt);
    Ok(())
}

pub(crate) async fn a_record_is_replayed_by_other_handles<H: Harness>(world: &World<H>) -> Verdict {
    let (ask, other) = (ask(), world.handle().await);
    world.completed(ask, b"42").await?;
    let answer = ask.again().of(&*other).await?;
    let record = answered!(answer, Acquired::Completed { record, .. } => record, "a record");
    ensure!(record == ask.record("42"), "another record is replayed: {record:?}");
    let answer = ask.again().other_request().of(&*other).await?;
    answered!(answer, Acquired::FingerprintMismatch => (), "FingerprintMismatch");
    Ok(())
}

pub(crate) async fn a_takeover_by_another_handle_is_seen<H: Harness>(world: &World<H>) -> Verdict {
    let (ask, other) = (ask(), world.handle().await);
    let stale = world.granted(ask).await?;
    other.abandon(&stale).await?;
    let answer = ask.again().of(&*other).await?;
    let owner = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
    ensure!(owner.token > stale.token, "the token {} came after {}", owner.token, stale.token);
    world.lost(ask.key, world.store.complete(&stale, ask.record("stale"), LONG)).await?;
    other.complete(&owner, ask.record("42"), LONG).await?;
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("42"), "another record is replayed: {record:?}");
    Ok(())
}

pub(crate) async fn what_one_handle_frees_the_others_may_have<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (ask, other) = (ask(), world.handle().await);
    let lease = world.granted(ask).await?;
    other.reserve_step(&lease, LONG).await?;
    other.free(&lease, LONG).await?;
    world.lost(ask.key, ask.of(&*world.store)).await?;
    let next = world.granted(ask.again().other_request()).await?;
    ensure!(next.attempt == 1, "after a lease that was freed comes attempt {}", next.attempt);
    ensure!(next.token > lease.token, "the token {} came after {}", next.token, lease.token);
    let answer = ask.again().of(&*other).await?;
    answered!(answer, Acquired::FingerprintMismatch => (), "FingerprintMismatch");
    Ok(())
}

pub(crate) async fn what_one_handle_forgets_the_others_do_not_know<H: Harness>(
    world: &World<H>,
) -> Verdict {
    if !world.capabilities.forgets_everywhere {
        return Err(Stop::Skipped("other handles replay forgotten records for a while"));
    }
    let (ask, other) = (ask(), world.handle().await);
    world.completed(ask, b"42").await?;
    let answer = ask.again().of(&*other).await?;
    answered!(answer, Acquired::Completed { .. } => (), "a record");
    ensure!(other.forget(&ask.key, false).await?, "forget found no record");
    ensure!(!world.store.forget(&ask.key, false).await?, "a key was forgotten twice");
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn a_handle_that_is_dropped_takes_nothing_with_it<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let (leased, ended, other) = (ask(), ask(), world.handle().await);
    let answer = leased.of(&*other).await?;
    let lease = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
    let answer = ended.of(&*other).await?;
    let done = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
    other.complete(&done, ended.record("42"), LONG).await?;
    drop(other);
    world.in_flight(leased.again()).await?;
    world.store.complete(&lease, leased.record("42"), LONG).await?;
    world.replayed(ended.again()).await?;
    Ok(())
}
