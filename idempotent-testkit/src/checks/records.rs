//! Outcomes: byte for byte, and only the first.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use idempotent_runtime::{Headers, KeyState, Metadata, Record, Store};

use crate::{
    harness::Harness,
    verdict::{Stop, Verdict, answered, ensure},
    world::{LONG, World, ask},
};

/// Completes a key and expects to be given the same by every way there is.
async fn keeps<H: Harness>(world: &World<H>, metadata: Metadata, body: Bytes) -> Verdict {
    let ask = ask();
    let record = Record::new(ask.fingerprint, metadata, body);
    let lease = world.granted(ask).await?;
    world.store.complete(&lease, record.clone(), LONG).await?;
    let (replayed, _) = world.replayed(ask.again()).await?;
    same(&record, &replayed)?;
    let state = world.store.inspect(&ask.key).await?;
    let shown = answered!(state, KeyState::Completed { record, .. } => record, "Completed");
    same(&record, &shown)?;
    if let Some(recalled) = world.store.recall(&ask.key) {
        same(&record, &recalled)?;
    }
    Ok(())
}

/// Says what differs, which the `Debug` of a record would not.
fn same(expected: &Record, found: &Record) -> Verdict {
    let (one, two) = (expected.metadata(), found.metadata());
    ensure!(one == two, "the metadata {one:?} came back as {two:?}");
    let (one, two) = (expected.body(), found.body());
    if one != two {
        let at = one.iter().zip(two).take_while(|(one, two)| one == two).count();
        return Err(Stop::violation(format_args!(
            "a body of {} bytes came back as {} bytes, different from byte {at} on",
            one.len(),
            two.len()
        )));
    }
    ensure!(expected.fingerprint() == found.fingerprint(), "the record has another fingerprint");
    Ok(())
}

fn field(name: &'static str, value: &[u8]) -> Verdict<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_bytes(value).map_err(Stop::violation)?;
    Ok((HeaderName::from_static(name), value))
}

fn response(status: u16, headers: Headers, trailers: Headers) -> Verdict<Metadata> {
    // The runtime's metadata can be made from their text only, outside of it.
    let status = StatusCode::from_u16(status).map_err(Stop::violation)?;
    Ok(Metadata::Response { status, headers, trailers })
}

pub(crate) async fn an_empty_body_is_a_record<H: Harness>(world: &World<H>) -> Verdict {
    keeps(world, Metadata::Value, Bytes::new()).await?;
    keeps(world, response(204, vec![], vec![])?, Bytes::new()).await
}

pub(crate) async fn falsy_bodies_are_records<H: Harness>(world: &World<H>) -> Verdict {
    for body in ["0", "false", "\"\"", "[]", "{}", "null", " ", "\0", "NaN"] {
        keeps(world, Metadata::Value, Bytes::from_static(body.as_bytes())).await?;
    }
    Ok(())
}

pub(crate) async fn bodies_of_any_bytes_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let all: Vec<u8> = (0..=255).collect();
    keeps(world, Metadata::Value, all.clone().into()).await?;
    keeps(world, Metadata::Value, all.into_iter().rev().collect()).await?;
    for body in [&b"\r\n"[..], b"\\x00", b"\\", b"'; --", b"\xff\xfe", b"caf\xc3\xa9", b"ends in\0"]
    {
        keeps(world, Metadata::Value, Bytes::from_static(body)).await?;
    }
    Ok(())
}

pub(crate) async fn a_body_of_a_mebibyte_is_kept<H: Harness>(world: &World<H>) -> Verdict {
    let mut body = vec![0_u8; 1 << 20];
    rand::fill(&mut body[..]);
    keeps(world, response(200, vec![], vec![])?, body.into()).await
}

pub(crate) async fn headers_are_kept_in_their_order_and_repeated<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let headers = vec![
        field("x-last", b"1")?,
        field("link", b"<a>")?,
        field("x-empty", b"")?,
        field("link", b"<b>; rel=\"next\", <c>")?,
        field("x-first", b"\tnot trimmed within\t2")?,
        field("link", b"<a>")?,
    ];
    keeps(world, response(201, headers, vec![])?, Bytes::from_static(b"{}")).await
}

pub(crate) async fn headers_of_any_bytes_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let raw: Vec<u8> = (0x80..=0xff).collect();
    let headers = vec![
        field("x-raw", &raw)?,
        field("x-latin", b"caf\xe9")?,
        field("x-text", "é✓".as_bytes())?,
    ];
    keeps(world, response(200, headers, vec![])?, Bytes::new()).await
}

pub(crate) async fn many_and_long_headers_are_kept<H: Harness>(world: &World<H>) -> Verdict {
    let long = [b'v'; 4096];
    let headers = (0..100).map(|_| field("x-many", &long)).collect::<Verdict<Headers>>()?;
    keeps(world, response(200, headers, vec![])?, Bytes::new()).await
}

pub(crate) async fn trailers_are_kept_apart_from_headers<H: Harness>(world: &World<H>) -> Verdict {
    let (one, two) = (field("x-checksum", b"1")?, field("x-checksum", b"\xff")?);
    let trailers = vec![one.clone(), two.clone()];
    keeps(world, response(200, vec![], trailers.clone())?, Bytes::from_static(b"body")).await?;
    keeps(world, response(200, vec![two, one], trailers)?, Bytes::from_static(b"body")).await
}

pub(crate) async fn every_status_is_kept<H: Harness>(world: &World<H>) -> Verdict {
    for status in [100, 200, 201, 204, 302, 404, 409, 422, 500, 503, 599, 999] {
        keeps(world, response(status, vec![], vec![])?, Bytes::from_static(b"body")).await?;
    }
    Ok(())
}

pub(crate) async fn tombstones_are_kept_with_and_without_a_status<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for status in [None, Some(StatusCode::OK), Some(StatusCode::INTERNAL_SERVER_ERROR)] {
        keeps(world, Metadata::Tombstone { status }, Bytes::new()).await?;
    }
    Ok(())
}

pub(crate) async fn a_record_is_replayed_any_number_of_times<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    world.completed(ask, b"42").await?;
    let before = world.seen(&ask.key).await?;
    for _ in 0..10 {
        let (record, _) = world.replayed(ask.again()).await?;
        same(&ask.record("42"), &record)?;
    }
    let after = world.seen(&ask.key).await?;
    ensure!(before == after, "a replay changed the key from {before:?} to {after:?}");
    Ok(())
}

pub(crate) async fn a_repeated_completion_is_refused_and_changes_nothing<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let lease = world.completed(ask, b"42").await?;
    for body in ["42", "another"] {
        world.lost(ask.key, world.store.complete(&lease, ask.record(body), LONG * 2)).await?;
    }
    let (record, expires_in) = world.replayed(ask.again()).await?;
    same(&ask.record("42"), &record)?;
    let most = LONG + world.capabilities.precision;
    ensure!(expires_in <= most, "a refused completion extended the record to {expires_in:?}");
    Ok(())
}

pub(crate) async fn a_later_operation_has_a_record_of_its_own<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let first = world.granted(ask).await?;
    world.store.complete(&first, ask.record("the first, and longer"), world.short()).await?;
    world.outlast(world.short()).await;
    let next = ask.again().other_request();
    world.completed(next, b"the second").await?;
    let (record, expires_in) = world.replayed(next.again()).await?;
    same(&next.record("the second"), &record)?;
    ensure!(expires_in > LONG / 2, "the record ends in {expires_in:?}, as the first one's did");
    world.store.purge_expired(1000).await?;
    world.replayed(next.again()).await?;
    world.mismatched(ask.again()).await
}

pub(crate) async fn recall_shows_live_records_only<H: Harness>(world: &World<H>) -> Verdict {
    let recalled = |key| world.store.recall(key).is_some();
    let asked = ask();
    ensure!(!recalled(&asked.key), "an unknown key is recalled");
    let lease = world.granted(asked).await?;
    ensure!(!recalled(&asked.key), "a leased key is recalled");
    world.store.release(&lease, LONG).await?;
    ensure!(!recalled(&asked.key), "a released key is recalled");
    let lease = world.granted(asked.again()).await?;
    world.store.complete(&lease, asked.record("42"), LONG).await?;
    if let Some(record) = world.store.recall(&asked.key) {
        same(&asked.record("42"), &record)?;
    }
    world.replayed(asked.again()).await?;
    world.store.forget(&asked.key, false).await?;
    ensure!(!recalled(&asked.key), "a forgotten key is recalled");
    Ok(())
}
