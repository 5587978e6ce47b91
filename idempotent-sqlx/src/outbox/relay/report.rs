//! What an operator sees of a relay.

#[cfg(feature = "metrics")]
use crate::outbox::OutboxStatus;
use crate::outbox::work::Settlement;

/// Counts what was made true in the database.
#[cfg(feature = "metrics")]
pub(super) fn settled(outbox: &str, settlement: &Settlement) {
    let outbox = outbox.to_owned();
    let count = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
    metrics::counter!("idempotency_outbox_published_total", "outbox" => outbox.clone())
        .increment(count(settlement.published.len()));
    metrics::counter!("idempotency_outbox_failed_total", "outbox" => outbox)
        .increment(count(settlement.failed.len()));
}

/// Sets the gauges. Every relay of an outbox sets them to the same.
#[cfg(feature = "metrics")]
pub(super) fn status(outbox: &str, status: OutboxStatus) {
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53 messages
    let set = |name: &'static str, value: u64| {
        metrics::gauge!(name, "outbox" => outbox.to_owned()).set(value as f64);
    };
    set("idempotency_outbox_pending", status.pending);
    set("idempotency_outbox_dead", status.dead);
    metrics::gauge!("idempotency_outbox_lag_seconds", "outbox" => outbox.to_owned())
        .set(status.oldest.unwrap_or_default().as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
pub(super) fn settled(_: &str, _: &Settlement) {}
