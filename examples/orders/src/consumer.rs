//! Ships what was ordered: once, however often the broker delivers a message.

use std::{sync::Arc, time::Duration};

use idempotent_runtime::{RecordError, idempotent_fn};
use idempotent_sqlx::{RecordIn as _, sqlx};
use tokio::{select, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Deliveries, Delivery},
    database::Database,
    fault::Fault,
    order::{OrderPlaced, Shipment},
    shop::{self, Shop},
    startup::Chain,
};

/// When a message is delivered again that could not be taken care of.
const PAUSE: Duration = Duration::from_secs(1);

/// Why nothing was shipped.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("there is no order {0}")]
    UnknownOrder(i64),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the shipment cannot be recorded")]
    Record(#[from] RecordError),
    #[error(transparent)]
    Guard(#[from] idempotent_runtime::Error),
}

impl ShipError {
    /// When to try again; `None` where that would not help.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::UnknownOrder(_) => None,
            Self::Database(_) | Self::Record(_) => Some(PAUSE),
            Self::Guard(error) => error.retryable().then(|| error.retry_after().unwrap_or(PAUSE)),
        }
    }
}

/// Two things are committed or neither: the shipment, and the record that there is one. A delivery of
/// the same message finds the record; one that comes while this runs waits for it; and where this
/// process is killed, one of the two has happened: nothing, or all of it.
#[idempotent_fn(
    key = placed.id, fingerprint = placed.order, ttl = "7d", lease = "5s", wait = "250ms",
    operation = "ship_order", runtime = shop.idempotency, attempt = attempt,
)]
async fn ship<DB: Database>(shop: &Shop<DB>, placed: &OrderPlaced) -> Result<Shipment, ShipError> {
    let mut transaction = shop.begin().await?;
    let shipment = shop::ship(&mut transaction, placed.order, attempt.number()).await?;
    let shipment = shipment.ok_or(ShipError::UnknownOrder(placed.order))?;
    let shipment = Shipment { shipment, order: placed.order };
    attempt.record_value_in(&mut transaction, &shipment).await?;
    Fault::ShipmentWritten.reached(shop.fault).await;
    transaction.commit().await?;

    Fault::ShipmentCommitted.reached(shop.fault).await;
    tracing::info!(order = shipment.order, attempt = attempt.number(), "shipped");
    Ok(shipment)
}

async fn take<DB: Database>(shop: &Shop<DB>, delivery: Delivery) {
    let placed = match OrderPlaced::read(delivery.payload()) {
        Ok(placed) => placed,
        Err(error) => {
            tracing::error!("a message is not readable: {error}");
            return delivery.refuse("the message is not readable").await;
        }
    };
    match ship(shop, &placed).await {
        Ok(_) => delivery.acknowledge().await,
        Err(error) => {
            let why = Chain(&error).to_string();
            if let Some(pause) = error.pause() {
                tracing::warn!(order = placed.order, ?pause, "not shipped yet: {why}");
                delivery.again(pause, &why).await;
            } else {
                tracing::error!(order = placed.order, "never shipped: {why}");
                delivery.refuse(&why).await;
            }
        }
    }
}

/// Takes care of up to `in_flight` messages at a time, until `stopping`, and of those it has begun with
/// until they are done.
pub(crate) async fn run<DB: Database>(
    shop: Arc<Shop<DB>>,
    mut deliveries: Deliveries,
    in_flight: usize,
    stopping: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(in_flight));
    let mut running = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            let delivery = deliveries.next(room.available_permits() + 1).await?;
            Some((permit, delivery))
        };
        let next = select! {
            next = next => next,
            () = stopping.cancelled() => None,
        };
        let Some((permit, delivery)) = next else { break };
        let shop = Arc::clone(&shop);
        running.spawn(async move {
            take(&shop, delivery).await;
            drop(permit);
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}
