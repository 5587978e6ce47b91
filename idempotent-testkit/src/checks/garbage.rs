//! A backend that holds what no store wrote: an error, never a panic, never an execution.

use idempotent_runtime::{Acquired, Store, StoreError};

use crate::{
    harness::{Garbage, Harness},
    verdict::{Stop, Verdict, answered, ensure},
    world::{Ask, LONG, World, ask},
};

/// In which state a key meets the garbage.
#[derive(Clone, Copy, Debug)]
enum State {
    Leased,
    Released,
    Completed,
}

/// Every kind of garbage that the backend can hold in a key of this state.
async fn corrupted<H: Harness>(world: &World<H>, state: State) -> Verdict<Vec<(Garbage, Ask)>> {
    let mut found = Vec::new();
    for garbage in Garbage::ALL {
        let ask = ask();
        let lease = world.granted(ask).await?;
        match state {
            State::Leased => {}
            State::Released => world.store.release(&lease, LONG).await?,
            State::Completed => world.store.complete(&lease, ask.record("42"), LONG).await?,
        }
        if world.corrupt(&ask.key, garbage).await {
            found.push((garbage, ask));
        }
    }
    match found.is_empty() {
        true => Err(Stop::Skipped("the harness has no garbage for this: see `Harness::corrupt`")),
        false => Ok(found),
    }
}

/// Expects `Corrupt` of both who ask and who look.
async fn is_told<H: Harness>(world: &World<H>, state: State) -> Verdict {
    for (garbage, owner) in corrupted(world, state).await? {
        let ask = owner;
        for ask in [ask.again(), ask.again().without_takeover(), ask] {
            let answer = ask.of(&*world.store).await;
            if matches!((state, &answer), (State::Leased, Ok(Acquired::InFlight { .. }))) {
                // Of a lease that holds, nothing else has to be readable; not by its owner, though.
                ensure!(ask.id != owner.id, "garbage in a lease is InFlight for its own id");
                continue;
            }
            answered!(
                answer, Err(StoreError::Corrupt(_)) => (),
                "Corrupt of acquire, {:?} in a {:?} key", garbage, state
            );
        }
        let answer = ask.again().other_request().of(&*world.store).await;
        answered!(
            answer, Err(StoreError::Corrupt(_)) | Ok(Acquired::FingerprintMismatch) => (),
            "Corrupt or FingerprintMismatch of acquire, {:?} in a {:?} key", garbage, state
        );
        let answer = world.store.inspect(&ask.key).await;
        answered!(
            answer, Err(StoreError::Corrupt(_)) => (),
            "Corrupt of inspect, {:?} in a {:?} key", garbage, state
        );
        ensure!(world.store.recall(&ask.key).is_none(), "garbage is recalled");
    }
    Ok(())
}

pub(crate) async fn garbage_in_a_record_is_told_and_never_run<H: Harness>(
    world: &World<H>,
) -> Verdict {
    is_told(world, State::Completed).await
}

pub(crate) async fn garbage_in_a_lease_is_told_and_never_run<H: Harness>(
    world: &World<H>,
) -> Verdict {
    is_told(world, State::Leased).await
}

pub(crate) async fn garbage_in_a_released_key_is_told_and_never_run<H: Harness>(
    world: &World<H>,
) -> Verdict {
    is_told(world, State::Released).await
}

pub(crate) async fn garbage_is_forgotten_by_force<H: Harness>(world: &World<H>) -> Verdict {
    for (garbage, ask) in corrupted(world, State::Completed).await? {
        let gone = world.store.forget(&ask.key, true).await?;
        ensure!(gone, "forget found nothing where {garbage:?} was");
        let next = world.granted(ask.again()).await?;
        ensure!(next.attempt == 1, "after {garbage:?} comes attempt {}", next.attempt);
    }
    Ok(())
}

pub(crate) async fn garbage_in_one_key_harms_no_other<H: Harness>(world: &World<H>) -> Verdict {
    let (leased, ended) = (ask(), ask());
    let lease = world.granted(leased).await?;
    world.completed(ended, b"42").await?;
    let found = corrupted(world, State::Completed).await?;
    world.replayed(ended.again()).await?;
    // A purge may stumble over it, and must take nothing that is alive.
    let _ = world.store.purge_expired(1000).await;
    world.in_flight(leased.again()).await?;
    world.store.complete(&lease, leased.record("42"), LONG).await?;
    for (_, ask) in found {
        world.store.forget(&ask.key, true).await?;
    }
    Ok(())
}
