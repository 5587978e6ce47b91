//! Recovery points: kept across attempts, byte for byte, each saved once.

use std::sync::Arc;

use bytes::Bytes;
use idempotent_runtime::{Lease, Store, StoreError};
use tokio::task::JoinSet;

use crate::{
    harness::Harness,
    verdict::{Stop, Verdict, answered, ensure},
    world::{LONG, World, ask},
};

/// Expects a lease to have just these steps.
fn has(lease: &Lease, expected: &[(&str, &[u8])]) -> Verdict {
    ensure!(
        lease.steps.len() == expected.len(),
        "{} steps were saved, these came back: {:?}",
        expected.len(),
        lease.steps.keys().collect::<Vec<_>>()
    );
    for (name, value) in expected {
        match lease.steps.get(*name) {
            Some(found) => ensure!(found == value, "step {name:?} came back with other bytes"),
            None => return Err(Stop::violation(format_args!("step {name:?} was lost"))),
        }
    }
    Ok(())
}

pub(crate) async fn steps_are_kept_across_release<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    world.store.save_step(&first, "charge", "7".into()).await?;
    world.store.release(&first, LONG).await?;
    let second = world.granted(ask.again()).await?;
    has(&second, &[("charge", b"7")])?;
    world.store.save_step(&second, "mail", "sent".into()).await?;
    world.store.release(&second, LONG).await?;
    has(&world.granted(ask.again()).await?, &[("charge", b"7"), ("mail", b"sent")])
}

pub(crate) async fn steps_are_kept_across_takeover<H: Harness>(world: &World<H>) -> Verdict {
    let asked = ask();
    let first = world.lapsed(asked).await?;
    world.store.save_step(&first, "charge", "7".into()).await?;
    let second = world.granted(asked.again()).await?;
    has(&second, &[("charge", b"7")])?;
    world.store.save_step(&second, "mail", "sent".into()).await?;
    world.store.abandon(&second).await?;
    has(&world.granted(asked.again()).await?, &[("charge", b"7"), ("mail", b"sent")])
}

pub(crate) async fn a_repeated_acquire_shows_the_steps_saved_since<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    has(&world.granted(ask).await?, &[("charge", b"7")])
}

pub(crate) async fn equal_bytes_are_saved_again_for_nothing<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    for _ in 0..3 {
        world.store.save_step(&lease, "charge", "7".into()).await?;
    }
    world.store.release(&lease, LONG).await?;
    let lease = world.granted(ask.again()).await?;
    // By a later attempt as well.
    world.store.save_step(&lease, "charge", "7".into()).await?;
    has(&world.granted(ask.with_id(lease.id)).await?, &[("charge", b"7")])
}

pub(crate) async fn other_bytes_are_a_conflict_and_change_nothing<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    let lease = world.granted(asked).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    for other in ["8", "", "77", "7 "] {
        let answer = world.store.save_step(&lease, "charge", other.into()).await;
        let name =
            answered!(answer, Err(StoreError::StepConflict { name }) => name, "StepConflict");
        ensure!(&*name == "charge", "the conflict is of step {name:?}");
    }
    world.store.release(&lease, LONG).await?;
    let next = world.granted(asked.again()).await?;
    has(&next, &[("charge", b"7")])?;
    let answer = world.store.save_step(&next, "charge", "8".into()).await;
    answered!(answer, Err(StoreError::StepConflict { .. }) => (), "StepConflict");
    Ok(())
}

pub(crate) async fn an_empty_step_is_a_step<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "empty", Bytes::new()).await?;
    let answer = world.store.save_step(&lease, "empty", "0".into()).await;
    answered!(answer, Err(StoreError::StepConflict { .. }) => (), "StepConflict");
    world.store.release(&lease, LONG).await?;
    has(&world.granted(ask.again()).await?, &[("empty", b"")])
}

pub(crate) async fn steps_of_any_bytes_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let all: Vec<u8> = (0..=255).collect();
    let long = vec![0xa5; 64 * 1024];
    let steps: [(&str, &[u8]); 6] = [
        ("all", &all),
        ("long", &long),
        ("null", b"null"),
        ("zero", b"0"),
        ("nul", b"\0"),
        ("line", b"\r\n"),
    ];
    let lease = world.granted(ask).await?;
    for (name, value) in steps {
        world.store.save_step(&lease, name, Bytes::copy_from_slice(value)).await?;
    }
    world.store.release(&lease, LONG).await?;
    has(&world.granted(ask.again()).await?, &steps)
}

pub(crate) async fn steps_of_any_name_are_kept_apart<H: Harness>(world: &World<H>) -> Verdict {
    const NAMES: [&str; 24] = [
        "a",
        "A",
        "a ",
        " a",
        "a:b",
        "a.b",
        "",
        " ",
        "é",
        "e\u{301}",
        "支付",
        "\n",
        "'",
        "\"",
        "\\",
        "%s",
        "{}", // And what a store may call its own fields:
        "state",
        "token",
        "attempt",
        "lease_id",
        "fingerprint",
        "body",
        "step:a",
    ];
    let ask = ask();
    let lease = world.granted(ask).await?;
    for (n, name) in NAMES.into_iter().enumerate() {
        world.store.save_step(&lease, name, n.to_string().into()).await?;
    }
    let long = "n".repeat(200);
    world.store.save_step(&lease, &long, "long".into()).await?;
    world.store.release(&lease, LONG).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.attempt == 2, "a step named as a field changed the attempt to {}", next.attempt);
    let values: Vec<_> = (0..NAMES.len()).map(|n| n.to_string()).collect();
    let mut expected: Vec<(&str, &[u8])> =
        NAMES.into_iter().zip(values.iter().map(String::as_bytes)).collect();
    expected.push((&long, b"long"));
    has(&next, &expected)
}

pub(crate) async fn many_steps_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    for n in 0..200 {
        world.store.save_step(&lease, &format!("step {n}"), n.to_string().into()).await?;
    }
    world.store.release(&lease, LONG).await?;
    let next = world.granted(ask.again()).await?;
    ensure!(next.steps.len() == 200, "of 200 steps {} came back", next.steps.len());
    for n in 0..200 {
        let found = next.steps.get(&format!("step {n}"));
        ensure!(
            found.is_some_and(|value| *value == n.to_string()),
            "step {n} came back as {found:?}"
        );
    }
    Ok(())
}

pub(crate) async fn steps_saved_at_once_are_all_kept<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let mut saving = JoinSet::new();
    for n in 0..32 {
        let (store, lease) = (Arc::clone(&world.store), lease.clone());
        saving.spawn(async move { store.save_step(&lease, &n.to_string(), "7".into()).await });
    }
    while let Some(saved) = saving.join_next().await {
        saved.map_err(Stop::violation)??;
    }
    let again = world.granted(ask).await?;
    ensure!(again.steps.len() == 32, "of 32 steps saved at once {} are kept", again.steps.len());
    Ok(())
}

pub(crate) async fn steps_are_of_their_key_only<H: Harness>(world: &World<H>) -> Verdict {
    let (one, two) = (ask(), ask());
    let lease = world.granted(one).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    let other = world.granted(two).await?;
    has(&other, &[])?;
    world.store.save_step(&other, "charge", "8".into()).await?;
    has(&world.granted(one).await?, &[("charge", b"7")])?;
    has(&world.granted(two).await?, &[("charge", b"8")])
}

pub(crate) async fn steps_end_with_their_operation<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.save_step(&lease, "charge", "7".into()).await?;
    world.store.complete(&lease, ask.record("42"), world.short()).await?;
    world.outlast(world.short()).await;
    let lease = world.granted(ask.again()).await?;
    has(&lease, &[])?;
    world.store.save_step(&lease, "charge", "8".into()).await?;
    world.store.release(&lease, world.short()).await?;
    world.outlast(world.short()).await;
    let lease = world.granted(ask.again()).await?;
    has(&lease, &[])?;
    world.store.save_step(&lease, "charge", "9".into()).await?;
    world.store.forget(&ask.key, true).await?;
    let lease = world.granted(ask.again()).await?;
    has(&lease, &[])?;
    world.store.save_step(&lease, "charge", "10".into()).await?;
    world.store.free(&lease, LONG).await?;
    let lease = world.granted(ask.again()).await?;
    has(&lease, &[])?;
    world.store.save_step(&lease, "charge", "11".into()).await?;
    Ok(())
}

pub(crate) async fn a_reservation_has_the_whole_lease_again<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.reserve_step(&lease, LONG * 4).await?;
    let left = world.in_flight(ask.again()).await?;
    ensure!(left > LONG * 3, "{left:?} are left of a lease extended to {:?}", LONG * 4);
    world.store.reserve_step(&lease, LONG).await?;
    let left = world.in_flight(ask.again()).await?;
    ensure!(left <= LONG + world.capabilities.precision, "{left:?} are left rather than {LONG:?}");
    Ok(())
}

pub(crate) async fn a_reservation_saves_nothing<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    let before = world.seen(&ask.key).await?;
    for _ in 0..3 {
        world.store.reserve_step(&lease, LONG).await?;
    }
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "a reservation changed the key from {before:?} to {after:?}");
    let again = world.granted(ask).await?;
    ensure!(again == lease, "a reservation changed the lease from {lease:?} to {again:?}");
    world.store.release(&lease, LONG).await?;
    has(&world.granted(ask.again()).await?, &[])
}

pub(crate) async fn a_reservation_after_abandon_is_refused<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.abandon(&lease).await?;
    world.lost(ask.key, world.store.reserve_step(&lease, LONG)).await?;
    world.granted(ask.again()).await?;
    Ok(())
}

pub(crate) async fn reserved_steps_are_saved<H: Harness>(world: &World<H>) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    // Two that run beside each other, and the same two once more; one without a reservation.
    for _ in 0..2 {
        world.store.reserve_step(&lease, LONG).await?;
        world.store.reserve_step(&lease, LONG).await?;
        world.store.save_step(&lease, "mail", "sent".into()).await?;
        world.store.save_step(&lease, "charge", "7".into()).await?;
    }
    world.store.save_step(&lease, "book", "1".into()).await?;
    world.store.reserve_step(&lease, LONG).await?;
    let other = world.store.save_step(&lease, "charge", "8".into()).await;
    answered!(other, Err(StoreError::StepConflict { .. }) => (), "StepConflict");
    world.store.release(&lease, LONG).await?;
    let next = world.granted(ask.again()).await?;
    has(&next, &[("book", b"1"), ("charge", b"7"), ("mail", b"sent")])
}
