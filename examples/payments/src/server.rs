//! Serves until a signal says to stop, then lets everything end that has begun.

use std::{io, time::Duration};

use axum::Router;
use idempotent_runtime::Idempotency;
use tokio::{join, net::TcpListener, select, sync::oneshot, time::timeout};

/// Serves `api` until a signal arrives. Then no connection is accepted any more, and what runs has
/// `drain` to end: handlers whose clients have hung up, too.
pub(crate) async fn serve(
    listener: TcpListener,
    api: Router,
    idempotency: Idempotency,
    signals: Signals,
    drain: Duration,
) -> io::Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, api).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut server = tokio::spawn(server.into_future());

    select! {
        ended = &mut server => return ended?,
        signal = signals.received() => tracing::info!(signal, ?drain, "stopping"),
    }
    let _ = stop.send(());
    let (left, answered) = join!(idempotency.drain(drain), timeout(drain, server));
    let answered = answered.is_ok();
    if left == 0 && answered {
        tracing::info!("stopped");
    } else {
        // Their leases run out, so that another process can take them over.
        tracing::warn!(left, answered, "stopped before everything had ended");
    }
    Ok(())
}

/// SIGINT and SIGTERM; Ctrl-C where there are no such signals.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(mut self) -> &'static str {
        select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn received(self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
