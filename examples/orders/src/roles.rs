//! Runs the parts that this process is for, until a signal says to stop; then lets everything end
//! that has begun.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use idempotent_sqlx::outbox::{OutboxError, Relay};
use tokio::{
    net::TcpListener,
    select,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    broker::{Broker, BrokerUrl, Publishing, Sender},
    consumer,
    database::Database,
    options::{Options, Roles},
    shop::Shop,
    signals::Signals,
    startup::StartError,
};

pub(crate) async fn run<DB: Database>(
    shop: Shop<DB>,
    roles: Roles,
    options: &Options,
) -> Result<ExitCode, StartError> {
    if options.broker == BrokerUrl::Channel && roles.relay != roles.consume {
        return Err(StartError::NoBroker(if roles.relay { "a relay" } else { "a consumer" }));
    }
    // Before anything is announced, so that whoever reads that can already stop the process.
    let signals = Signals::listen()?;
    let shop = Arc::new(shop);
    let mut parts = Parts::default();
    let mut announced = if roles.relay { "relaying" } else { "consuming" }.to_owned();

    let Broker { sender, deliveries, link } = match roles.relay || roles.consume {
        true => Broker::open(&options.broker, &options.messages).await?,
        false => Broker::nowhere(),
    };
    if roles.serve {
        let listener = listen(options).await?;
        announced = format!("listening on http://{}", listener.local_addr()?);
        parts.start(|stop| serve(listener, Arc::clone(&shop), stop));
    }
    if roles.relay {
        let relay = relay(&shop, sender, options)?;
        parts.start(|stop| relay.run(stop.cancelled_owned()).map(Ok));
    }
    if roles.consume {
        let (shop, in_flight) = (Arc::clone(&shop), options.messages.in_flight.into());
        parts.start(|stop| consumer::run(shop, deliveries, in_flight, stop).map(Ok));
    }
    writeln!(io::stdout(), "{announced}")?;

    select! {
        signal = signals.received() => tracing::info!(signal, drain = ?options.drain, "stopping"),
        () = parts.ended.cancelled() => tracing::error!("a part of this process has ended"),
    }
    let deadline = Instant::now() + options.drain;
    let stopped = timeout_at(deadline, parts.stop()).await;
    link.flush().await;
    // Handlers whose clients have gone.
    let left = shop.idempotency.drain(deadline - Instant::now()).await;
    match (stopped, left) {
        (Ok(ended), 0) => {
            ended?;
            tracing::info!("stopped");
        }
        // Their leases run out, so that another process can take them over.
        (_, left) => tracing::warn!(left, "stopped before everything had ended"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The parts that run, in the order in which they end: what one hands on still finds the next.
#[derive(Default)]
struct Parts {
    running: Vec<(CancellationToken, JoinHandle<io::Result<()>>)>,
    /// Cancelled when one of them has ended, of itself or by a panic.
    ended: CancellationToken,
}

impl Parts {
    fn start<F>(&mut self, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (part, ended) = (part(stop.clone()), self.ended.clone().drop_guard());
        let running = async move {
            let _ended = ended;
            part.await
        };
        self.running.push((stop, tokio::spawn(running)));
    }

    async fn stop(self) -> io::Result<()> {
        let mut result = Ok(());
        for (stop, part) in self.running {
            stop.cancel();
            result = result.and(part.await.unwrap_or_else(|panic| Err(io::Error::other(panic))));
        }
        result
    }
}

async fn listen(options: &Options) -> io::Result<TcpListener> {
    let address = options.listen;
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

async fn serve<DB: Database>(
    listener: TcpListener,
    shop: Arc<Shop<DB>>,
    stopping: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, api::router(shop))
        .with_graceful_shutdown(stopping.cancelled_owned())
        .await
}

/// A relay that was killed leaves its messages to others when its lease is over. What it waits for
/// the broker has to be shorter, at most half.
fn relay<DB: Database>(
    shop: &Shop<DB>,
    sender: Sender,
    options: &Options,
) -> Result<Relay<DB>, OutboxError> {
    let lease = options.messages.relay_lease;
    shop.outbox
        .relay_builder(Publishing { sender, fault: shop.fault })
        .lease(lease)
        .publish_timeout((lease / 2).min(Duration::from_secs(10)))
        .build()
}
