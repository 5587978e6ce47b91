//! What is kept of an operation for the person who decides: its name, and the ttl of its record.

use std::time::Duration;

use idempotent_runtime::{Lease, Store};

use super::states::shows;
use crate::{
    harness::Harness,
    verdict::{Verdict, ensure},
    world::{Ask, LONG, World, ask},
};

const DAY: Duration = Duration::from_hours(24);
/// As a template with many parameters may be, and longer than most columns.
const LONG_NAME: &str = match str::from_utf8(&[b'n'; 2000]) {
    Ok(name) => name,
    Err(_) => "",
};

async fn is_shown<H: Harness>(world: &World<H>, state: &str, ask: Ask, lease: &Lease) -> Verdict {
    shows(&world.seen(&ask.key).await?, state, ask, lease)
}

pub(crate) async fn operation_and_ttl_are_shown_in_every_state<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask().of_operation("refund", DAY * 30);
    let lease = world.granted(asked).await?;
    is_shown(world, "leased", asked, &lease).await?;
    world.store.release(&lease, LONG).await?;
    is_shown(world, "released", asked, &lease).await?;
    let lease = world.granted(asked.again()).await?;
    world.store.abandon(&lease).await?;
    is_shown(world, "abandoned", asked, &lease).await?;
    let lease = world.lapsed(asked.again()).await?;
    is_shown(world, "abandoned", asked, &lease).await
}

pub(crate) async fn each_grant_says_operation_and_ttl_anew<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let first = ask().of_operation("one", LONG);
    let lease = world.granted(first).await?;
    // The same call, repeated.
    let first = first.of_operation("two", LONG * 2);
    world.granted(first).await?;
    is_shown(world, "leased", first, &lease).await?;
    world.store.release(&lease, LONG).await?;
    is_shown(world, "released", first, &lease).await?;

    let second = first.again().of_operation("three", LONG * 3);
    let lease = world.granted(second).await?;
    is_shown(world, "leased", second, &lease).await?;
    world.store.abandon(&lease).await?;
    is_shown(world, "abandoned", second, &lease).await?;

    let third = second.again().of_operation("four", LONG * 4);
    let lease = world.granted(third).await?;
    is_shown(world, "leased", third, &lease).await?;
    world.store.free(&lease, LONG).await?;

    let fourth = third.again().of_operation("five", LONG * 5);
    let lease = world.granted(fourth).await?;
    is_shown(world, "leased", fourth, &lease).await
}

pub(crate) async fn an_acquire_that_is_refused_changes_neither_operation_nor_ttl<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let asked = ask();
    let late = asked.of_operation("late", LONG * 7);
    let lease = world.granted(asked).await?;
    world.in_flight(late.again()).await?;
    world.mismatched(late.again().other_request()).await?;
    is_shown(world, "leased", asked, &lease).await?;
    world.store.abandon(&lease).await?;
    world.abandoned(late.again().without_takeover()).await?;
    world.mismatched(late.again().other_request()).await?;
    is_shown(world, "abandoned", asked, &lease).await?;
    world.store.release(&lease, LONG).await?;
    world.mismatched(late.again().other_request()).await?;
    world.lost(late.key, late.of(&*world.store)).await?;
    is_shown(world, "released", asked, &lease).await
}

pub(crate) async fn calls_of_the_owner_keep_operation_and_ttl<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.granted(ask).await?;
    world.store.renew(&lease, LONG * 2).await?;
    is_shown(world, "leased", ask, &lease).await?;
    world.store.reserve_step(&lease, LONG * 2).await?;
    // What a store may call its own fields.
    for name in ["operation", "ttl", "first_token"] {
        world.store.save_step(&lease, name, "1".into()).await?;
    }
    is_shown(world, "leased", ask, &lease).await?;
    let again = world.granted(ask).await?;
    ensure!(again.first_token == lease.token, "a step changed the first token");
    ensure!(again.steps.len() == 3, "of 3 steps there are {:?}", again.steps);
    Ok(())
}

pub(crate) async fn operations_of_any_name_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    const NAMES: [&str; 15] = [
        "",
        " ",
        " a ",
        "POST /payments/{id}/refund",
        "支付",
        "é",
        "e\u{301}",
        "\u{1f4b8}",
        "\n",
        "'",
        "\"\\",
        "%s",
        "a:b",
        "0",
        LONG_NAME,
    ];
    for name in NAMES {
        let ask = ask().of_operation(name, LONG);
        let lease = world.granted(ask).await?;
        is_shown(world, "leased", ask, &lease).await?;
        world.store.release(&lease, LONG).await?;
        is_shown(world, "released", ask, &lease).await?;
        let again = ask.again();
        let lease = world.granted(again).await?;
        world.store.abandon(&lease).await?;
        is_shown(world, "abandoned", again, &lease).await?;
    }
    Ok(())
}

pub(crate) async fn ttls_are_kept_to_the_millisecond<H: Harness>(world: &World<H>) -> Verdict {
    let spans = [
        Duration::from_millis(1),
        Duration::from_millis(999),
        Duration::from_millis(1001),
        DAY,
        DAY + Duration::from_millis(1),
        // More than 32 bits of milliseconds.
        DAY * 50 + Duration::from_millis(17),
        DAY * 400 + Duration::from_millis(999),
        // A store need not count further than a century.
        DAY * 36_524 + Duration::from_millis(1),
    ];
    for span in spans {
        let ask = ask().of_operation("a", span);
        let lease = world.granted(ask).await?;
        is_shown(world, "leased", ask, &lease).await?;
        world.store.release(&lease, LONG).await?;
        is_shown(world, "released", ask, &lease).await?;
    }
    Ok(())
}
