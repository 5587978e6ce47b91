//! Calls whose future is dropped half-way: applied or not, and nothing in between.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use idempotent_runtime::{KeyState, Store, StoreError};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{LONG, World, ask},
};

/// How often a call is polled before it is dropped, at most.
const POLLS: usize = 6;

/// Polls a call at most so often, as its wakers ask for it, and drops it then.
async fn dropped_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let (mut call, mut polled) = (pin!(call), 0);
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A call that is repeated after it was cancelled may have been applied before.
fn applied_or_lost(answer: Result<(), StoreError>) -> Verdict {
    match answer {
        Ok(()) | Err(StoreError::LeaseLost) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Expects that the handle answers others as before.
async fn goes_on<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("42"), "after a cancelled call another record is replayed");
    Ok(())
}

pub(crate) async fn a_cancelled_acquire_can_be_repeated<H: Harness>(world: &World<H>) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        let first = dropped_after(polls, ask.of(&*world.store)).await;
        goes_on(world).await?;
        let lease = world.granted(ask).await?;
        ensure!(
            lease.attempt == 1,
            "after {polls} polls ({first:?}) comes attempt {}",
            lease.attempt
        );
        world.in_flight(ask.again()).await?;
        world.store.complete(&lease, ask.record("42"), LONG).await?;
        world.replayed(ask.again()).await?;
    }
    Ok(())
}

pub(crate) async fn a_cancelled_acquire_is_released_by_its_id<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        dropped_after(polls, ask.of(&*world.store)).await;
        // What the engine does of a client that went away: ask again, then give it back.
        let lease = world.granted(ask).await?;
        world.store.release(&lease, LONG).await?;
        let next = world.granted(ask.again()).await?;
        ensure!(next.attempt == 2, "after {polls} polls comes attempt {}", next.attempt);
    }
    Ok(())
}

pub(crate) async fn a_cancelled_completion_is_whole_or_not_at_all<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        let lease = world.granted(ask).await?;
        let record = ask.record(vec![b'x'; 40_000]);
        dropped_after(polls, world.store.complete(&lease, record.clone(), LONG)).await;
        goes_on(world).await?;
        match world.store.inspect(&ask.key).await? {
            KeyState::Completed { record: found, .. } => {
                ensure!(found == record, "half a record was completed");
            }
            state => answered!(state, KeyState::Leased { .. } => (), "Leased or Completed"),
        }
        applied_or_lost(world.store.complete(&lease, record.clone(), LONG).await)?;
        let (replayed, _) = world.replayed(ask.again()).await?;
        ensure!(replayed == record, "another record is replayed after {polls} polls");
    }
    Ok(())
}

pub(crate) async fn a_cancelled_release_can_be_repeated<H: Harness>(world: &World<H>) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        let lease = world.granted(ask).await?;
        dropped_after(polls, world.store.release(&lease, LONG)).await;
        goes_on(world).await?;
        applied_or_lost(world.store.release(&lease, LONG).await)?;
        let next = world.granted(ask.again()).await?;
        ensure!(next.attempt == 2, "after {polls} polls comes attempt {}", next.attempt);
    }
    Ok(())
}

pub(crate) async fn a_cancelled_free_can_be_repeated<H: Harness>(world: &World<H>) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        let lease = world.granted(ask).await?;
        world.store.save_step(&lease, "charge", "7".into()).await?;
        dropped_after(polls, world.store.free(&lease, LONG)).await;
        goes_on(world).await?;
        applied_or_lost(world.store.free(&lease, LONG).await)?;
        let next = world.granted(ask.again().other_request()).await?;
        ensure!(next.attempt == 1, "after {polls} polls comes attempt {}", next.attempt);
        ensure!(next.steps.is_empty(), "after {polls} polls there are {:?}", next.steps);
    }
    Ok(())
}

pub(crate) async fn cancelled_renewals_and_steps_can_be_repeated<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        let lease = world.granted(ask).await?;
        dropped_after(polls, world.store.renew(&lease, LONG)).await;
        dropped_after(polls, world.store.reserve_step(&lease, LONG)).await;
        dropped_after(polls, world.store.save_step(&lease, "charge", "7".into())).await;
        dropped_after(polls, world.store.inspect(&ask.key)).await;
        world.store.renew(&lease, LONG).await?;
        world.store.reserve_step(&lease, LONG).await?;
        world.store.save_step(&lease, "charge", "7".into()).await?;
        let again = world.granted(ask).await?;
        ensure!(again.steps.len() == 1, "after {polls} polls there are {:?}", again.steps);
        world.store.complete(&lease, ask.record("42"), LONG).await?;
    }
    goes_on(world).await
}

pub(crate) async fn a_cancelled_forget_can_be_repeated<H: Harness>(world: &World<H>) -> Verdict {
    for polls in 0..POLLS {
        let ask = ask();
        world.completed(ask, b"42").await?;
        dropped_after(polls, world.store.forget(&ask.key, true)).await;
        dropped_after(polls, world.store.purge_expired(10)).await;
        let state = world.seen(&ask.key).await?.state;
        ensure!(["absent", "completed"].contains(&state), "a half forgotten key is {state}");
        world.store.forget(&ask.key, true).await?;
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "a forgotten key is {}", seen.state);
    }
    goes_on(world).await
}
