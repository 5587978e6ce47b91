//! The lives of a key: when one ends, and what tells it from the next.

use std::time::Duration;

use idempotent_runtime::{
    AcquireRequest, Acquired, KeyState, Lease, LeaseId, OperationName, Store, StoreError,
};

use crate::{
    harness::Harness,
    verdict::{Verdict, answered, ensure},
    world::{Ask, LONG, World, ask},
};

/// Expects the first lease of a life that began after `last`.
fn begins_anew(lease: &Lease, last: &Lease) -> Verdict {
    ensure!(lease.attempt == 1, "a new life begins with attempt {}", lease.attempt);
    ensure!(lease.steps.is_empty(), "a new life has the steps {:?}", lease.steps);
    ensure!(lease.token > last.token, "token {} was granted after {}", lease.token, last.token);
    ensure!(
        lease.first_token == lease.token,
        "the first token of attempt 1 is {}, its token {}",
        lease.first_token,
        lease.token
    );
    Ok(())
}

pub(crate) async fn a_freed_key_is_new_for_any_request<H: Harness>(world: &World<H>) -> Verdict {
    for other in [false, true] {
        let ask = ask();
        let first = world.granted(ask).await?;
        world.store.release(&first, LONG).await?;
        let second = world.granted(ask.again()).await?;
        world.store.save_step(&second, "charge", "7".into()).await?;
        world.store.free(&second, LONG).await?;
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "a freed key is shown as {}", seen.state);
        ensure!(!world.store.forget(&ask.key, false).await?, "a freed key is there to forget");
        // What is forgotten may have been the token; the key is used and freed once more.
        let third = world.granted(ask.again()).await?;
        world.store.save_step(&third, "charge", "8".into()).await?;
        world.store.free(&third, LONG).await?;
        let next = if other { ask.again().other_request() } else { ask.again() };
        begins_anew(&world.granted(next).await?, &third)?;
        world.in_flight(next.again()).await?;
    }
    Ok(())
}

pub(crate) async fn the_freed_lease_id_is_refused<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.free(&lease, LONG).await?;
    for late in [ask, ask.other_request()] {
        let answer = late.of(&*world.store).await;
        ensure!(
            matches!(answer, Err(StoreError::LeaseLost)),
            "the freed lease id was answered {answer:?}"
        );
    }
    begins_anew(&world.granted(ask.again()).await?, &lease)
}

pub(crate) async fn a_lapsed_lease_is_freed_by_its_owner<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.lapsed(ask).await?;
    world.store.free(&lease, LONG).await?;
    begins_anew(&world.granted(ask.again().other_request()).await?, &lease)
}

pub(crate) async fn all_attempts_of_a_life_have_its_first_token<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    let check = |lease: &Lease| -> Verdict {
        ensure!(
            lease.first_token == first.token,
            "attempt {} has the first token {} where attempt 1 had {}",
            lease.attempt,
            lease.first_token,
            first.token
        );
        Ok(())
    };
    check(&world.granted(ask).await?)?;
    world.store.release(&first, LONG).await?;
    let short = world.short();
    let second = ask.again();
    check(&world.granted(second.lease_for(short)).await?)?;
    check(&world.granted(second.lease_for(short)).await?)?;
    world.outlast(short).await;
    let third = world.granted(ask.again()).await?;
    check(&third)?;
    world.store.abandon(&third).await?;
    check(&world.granted(ask.again()).await?)
}

pub(crate) async fn each_life_has_a_first_token_of_its_own<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let short = world.short();
    let mut lives = Vec::new();
    let first = world.granted(ask).await?;
    world.store.complete(&first, ask.record("42"), short).await?;
    lives.push(first.first_token);
    world.outlast(short).await;

    let second = world.granted(ask.again()).await?;
    begins_anew(&second, &first)?;
    world.store.release(&second, short).await?;
    lives.push(second.first_token);
    world.outlast(short).await;

    let third = world.granted(ask.again()).await?;
    begins_anew(&third, &second)?;
    world.store.free(&third, LONG).await?;
    lives.push(third.first_token);

    let fourth = world.granted(ask.again()).await?;
    begins_anew(&fourth, &third)?;
    world.store.forget(&ask.key, true).await?;
    lives.push(fourth.first_token);

    let fifth = world.granted(ask.again()).await?;
    begins_anew(&fifth, &fourth)?;
    lives.push(fifth.first_token);
    ensure!(
        lives.windows(2).all(|pair| pair[0] < pair[1]),
        "the first tokens of five lives are {lives:?}"
    );
    Ok(())
}

/// Asks for a key as an operation of this name would.
async fn named<H: Harness>(
    world: &World<H>,
    ask: Ask,
    name: &OperationName,
    ttl: Duration,
) -> Verdict<Acquired> {
    let id = LeaseId::random();
    let request = AcquireRequest::new(&ask.key, &ask.fingerprint, id, LONG);
    Ok(world.store.acquire(request.operation(name, ttl)).await?)
}

/// Expects a state without an outcome that shows this name and ttl.
async fn shows<H: Harness>(
    world: &World<H>,
    ask: Ask,
    name: &OperationName,
    ttl: Duration,
) -> Verdict {
    let (operation, shown) = match world.store.inspect(&ask.key).await? {
        KeyState::Leased { operation, ttl, .. }
        | KeyState::Released { operation, ttl, .. }
        | KeyState::Abandoned { operation, ttl, .. } => (operation, ttl),
        other => return Err(crate::verdict::Stop::Violation(format!("shown as {other:?}"))),
    };
    ensure!(operation == *name, "{name:?} is shown as {operation:?}");
    ensure!(shown == ttl, "a ttl of {ttl:?} is shown as {shown:?}");
    Ok(())
}

pub(crate) async fn operation_and_ttl_are_shown_until_there_is_a_record<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let names = ["POST /payments/{id}", "", "заказ \"1\" \u{1f4b3}", &"long ".repeat(100)];
    let (week, odd) = (Duration::from_hours(24 * 7), Duration::from_millis(1_234_567));
    for name in names.map(OperationName::from) {
        let (ask, other) = (ask(), OperationName::from("another"));
        let lease = named(world, ask, &name, week).await?;
        let lease = answered!(lease, Acquired::Granted(lease) => lease, "a lease");
        shows(world, ask, &name, week).await?;
        // Who is refused changes nothing.
        named(world, ask, &other, odd).await?;
        named(world, ask.other_request(), &other, odd).await?;
        shows(world, ask, &name, week).await?;
        world.store.release(&lease, LONG).await?;
        shows(world, ask, &name, week).await?;
        let next = named(world, ask, &other, odd).await?;
        let next = answered!(next, Acquired::Granted(lease) => lease, "a lease");
        shows(world, ask, &other, odd).await?;
        world.store.abandon(&next).await?;
        shows(world, ask, &other, odd).await?;
    }
    Ok(())
}

pub(crate) async fn a_step_is_reserved_by_the_owner_only<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.reserve_step(&lease, LONG * 4).await?;
    let state = world.store.inspect(&ask.key).await?;
    let left = answered!(state, KeyState::Leased { expires_in, .. } => expires_in, "Leased");
    ensure!(left > LONG * 3, "{left:?} are left of a lease extended by {:?}", LONG * 4);
    ensure!(world.granted(ask).await?.steps.is_empty(), "a reserved step is there already");
    let mut stranger = lease.clone();
    stranger.id = LeaseId::random();
    world.lost(ask.key, world.store.reserve_step(&stranger, LONG)).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.abandon(&lease).await?;
    world.lost(ask.key, world.store.reserve_step(&lease, LONG)).await
}
