//! What a lease may do: only the one that holds the key, by id and token.

use idempotent_runtime::{FencingToken, Lease, LeaseId, Store, StoreError};

use crate::{
    harness::Harness,
    verdict::{Stop, Verdict, ensure},
    world::{Ask, LONG, World, ask},
};

/// A call that a lease is needed for.
#[derive(Clone, Copy, Debug)]
enum Call {
    Complete,
    Renew,
    Release,
    Free,
    Abandon,
    ReserveStep,
    SaveStep,
}

use Call::{Abandon, Complete, Free, Release, Renew, ReserveStep, SaveStep};

impl Call {
    const ALL: [Self; 7] = [Renew, ReserveStep, SaveStep, Abandon, Release, Free, Complete];

    async fn with<H: Harness>(
        self,
        world: &World<H>,
        ask: Ask,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        match self {
            Complete => world.store.complete(lease, ask.record("of a stranger"), LONG).await,
            Renew => world.store.renew(lease, LONG * 2).await,
            Release => world.store.release(lease, LONG).await,
            Free => world.store.free(lease, LONG).await,
            Abandon => world.store.abandon(lease).await,
            ReserveStep => world.store.reserve_step(lease, LONG * 2).await,
            SaveStep => world.store.save_step(lease, "of a stranger", "1".into()).await,
        }
    }

    /// Expects that the call finds the lease lost and has no effect.
    async fn refused<H: Harness>(self, world: &World<H>, ask: Ask, lease: &Lease) -> Verdict {
        match world.lost(ask.key, self.with(world, ask, lease)).await {
            Err(Stop::Violation(what)) => Err(Stop::Violation(format!("{self:?}: {what}"))),
            verdict => verdict,
        }
    }
}

/// Expects that the owner is unharmed, and that nobody saved a step.
async fn unharmed<H: Harness>(world: &World<H>, ask: Ask, owner: &Lease) -> Verdict {
    let again = world.granted(ask).await?;
    ensure!(again.token == owner.token, "the owner's token changed");
    ensure!(again.steps.is_empty(), "a stranger saved a step: {:?}", again.steps);
    world.store.complete(owner, ask.record("42"), LONG).await?;
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("42"), "a stranger's record is replayed");
    Ok(())
}

async fn compares_the_id<H: Harness>(world: &World<H>, call: Call) -> Verdict {
    let ask = ask();
    let owner = world.granted(ask).await?;
    let mut stranger = owner.clone();
    stranger.id = LeaseId::random();
    call.refused(world, ask, &stranger).await?;
    unharmed(world, ask, &owner).await
}

async fn compares_the_token<H: Harness>(world: &World<H>, call: Call) -> Verdict {
    let ask = ask();
    let owner = world.granted(ask).await?;
    let token = owner.token.as_u64();
    for token in [token.saturating_sub(1), token + 1, 0].into_iter().filter(|one| *one != token) {
        let mut stranger = owner.clone();
        stranger.token = FencingToken::from_u64(token);
        call.refused(world, ask, &stranger).await?;
    }
    unharmed(world, ask, &owner).await
}

/// A process that was paused while another took over.
async fn refuses_the_stale<H: Harness>(world: &World<H>, call: Call) -> Verdict {
    let ask = ask();
    let stale = world.lapsed(ask).await?;
    let next = ask.again();
    let owner = world.granted(next).await?;
    call.refused(world, ask, &stale).await?;
    unharmed(world, next, &owner).await?;
    // Nor when the next one has ended.
    call.refused(world, ask, &stale).await
}

macro_rules! of_each_call {
    ($($call:ident: $id:ident $token:ident $stale:ident;)*) => {$(
        pub(crate) async fn $id<H: Harness>(world: &World<H>) -> Verdict {
            compares_the_id(world, $call).await
        }

        pub(crate) async fn $token<H: Harness>(world: &World<H>) -> Verdict {
            compares_the_token(world, $call).await
        }

        pub(crate) async fn $stale<H: Harness>(world: &World<H>) -> Verdict {
            refuses_the_stale(world, $call).await
        }
    )*};
}

of_each_call! {
    Complete: complete_compares_the_lease_id complete_compares_the_token complete_of_a_stale_owner_is_refused;
    Renew: renew_compares_the_lease_id renew_compares_the_token renew_of_a_stale_owner_is_refused;
    Release: release_compares_the_lease_id release_compares_the_token release_of_a_stale_owner_is_refused;
    Free: free_compares_the_lease_id free_compares_the_token free_of_a_stale_owner_is_refused;
    Abandon: abandon_compares_the_lease_id abandon_compares_the_token abandon_of_a_stale_owner_is_refused;
    ReserveStep: reserve_step_compares_the_lease_id reserve_step_compares_the_token reserve_step_of_a_stale_owner_is_refused;
    SaveStep: save_step_compares_the_lease_id save_step_compares_the_token save_step_of_a_stale_owner_is_refused;
}

pub(crate) async fn a_lease_is_of_its_key_only<H: Harness>(world: &World<H>) -> Verdict {
    let (one, two) = (ask(), ask());
    let lease = world.granted(one).await?;
    let other = world.granted(two).await?;
    let mut astray = lease.clone();
    astray.key = two.key;
    for call in Call::ALL {
        call.refused(world, two, &astray).await?;
    }
    unharmed(world, one, &lease).await?;
    unharmed(world, two, &other).await
}

pub(crate) async fn a_lease_of_an_unknown_key_is_lost<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = Lease::new(ask.key, ask.id, FencingToken::from_u64(1), 1);
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    let owner = world.granted(ask.again()).await?;
    ensure!(owner.attempt == 1, "a refused call counts as an attempt");
    ensure!(owner.steps.is_empty(), "a refused call saved a step: {:?}", owner.steps);
    Ok(())
}

pub(crate) async fn a_released_lease_may_do_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.release(&lease, LONG).await?;
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    let next = ask.again();
    let owner = world.granted(next).await?;
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    unharmed(world, next, &owner).await
}

pub(crate) async fn a_freed_lease_may_do_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.free(&lease, LONG).await?;
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    // Nor in the next life of the key, whosever it is.
    for next in [ask.again(), ask.again().other_request()] {
        let owner = world.granted(next).await?;
        for call in Call::ALL {
            call.refused(world, ask, &lease).await?;
        }
        world.store.free(&owner, LONG).await?;
    }
    let next = ask.again();
    let owner = world.granted(next).await?;
    ensure!(owner.attempt == 1, "a refused call counts as an attempt");
    unharmed(world, next, &owner).await
}

pub(crate) async fn a_completed_lease_may_do_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.completed(ask, b"42").await?;
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    let (record, _) = world.replayed(ask.again()).await?;
    ensure!(record == ask.record("42"), "the record was changed");
    Ok(())
}

pub(crate) async fn a_forgotten_lease_may_do_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    ensure!(world.store.forget(&ask.key, true).await?, "forget found nothing");
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    let next = ask.again();
    let owner = world.granted(next).await?;
    for call in Call::ALL {
        call.refused(world, ask, &lease).await?;
    }
    unharmed(world, next, &owner).await
}
