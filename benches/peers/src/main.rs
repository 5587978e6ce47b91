//! Load over loopback HTTP on the same small handler, bare and under each contender.
//!
//! Every server is a process of its own, bound to one core; the load is bound to another. Windows
//! of a contender alternate with windows of the bare handler, and each is divided by the mean of
//! its two neighbours: speed drifts with the machine, ratios much less.

mod contender;
mod load;
mod report;
mod server;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use crate::{
    contender::Contender,
    load::{Keys, Load, Shape, Window},
    report::{Pair, Row},
    server::{Runtime, Server},
};

/// Requests per second, p99 and memory of each contender beside the bare handler.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// How many undisturbed windows each contender gets in each mode; up to three times as many are
    /// tried.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long one window is.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=10_000))]
    window_ms: u64,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Only these contenders; `bare` measures the bare handler against itself.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Keys that are replayed in turn.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    replay_keys: u64,
    /// Keys to a session, where a contender keeps its records in sessions.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    keys_per_session: u64,
    /// What the servers run on.
    #[arg(long, value_enum, default_value_t = Runtime::MultiThread)]
    runtime: Runtime,
    /// No more rounds once a contender holds so many keys.
    #[arg(long, default_value_t = 5_000_000)]
    max_keys: u64,
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Serve one contender until standard input ends (what the load starts by itself).
    #[command(hide = true)]
    Serve {
        contender: Contender,
        runtime: Runtime,
        #[arg(long)]
        core: Option<usize>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Task::Serve { contender, runtime, core }) = arguments.command {
        return server::serve(contender, runtime, core);
    }
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (server_core, load_core) = match &cores[..] {
        [one, two, ..] => (Some(one.id), Some(two.id)),
        _ => (None, None),
    };
    let pinned = server::pin(load_core);
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::spawn(stay_awake());
        let mut rows = Vec::new();
        let contenders =
            if arguments.only.is_empty() { Contender::all() } else { arguments.only.clone() };
        for contender in contenders {
            rows.extend(measure(contender, &arguments, server_core, pinned).await?);
        }
        report::print(&rows);
        ensure!(rows.iter().all(Row::is_right), "not every answer was the right one");
        Ok(())
    })
}

/// Keeps the load from sleeping. A server would have to wake it, the oftener the slower the server is;
/// clients on other machines cost it nothing of the kind.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Windows of `contender` in both modes between windows of the bare handler.
async fn measure(
    contender: Contender,
    arguments: &Arguments,
    core: Option<usize>,
    load_pinned: bool,
) -> Result<Vec<Row>> {
    let length = Duration::from_millis(arguments.window_ms);
    let shape =
        Shape { keys_per_session: contender.needs_session().then_some(arguments.keys_per_session) };
    let bare = Server::start(Contender::Bare, arguments.runtime, core)?;
    let guarded = Server::start(contender, arguments.runtime, core)?;
    eprintln!(
        "{}: servers {} core {}, load {}",
        contender.name(),
        if bare.pinned && guarded.pinned { "bound to" } else { "NOT bound to" },
        core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
        if load_pinned { "bound to another" } else { "NOT bound to another" },
    );
    let connections = arguments.connections.into();
    let mut bare_load = Load::connect(bare.address, connections, shape).await?;
    let mut load = Load::connect(guarded.address, connections, shape).await?;

    // The keys below are primed; fresh ones begin above them, for both servers.
    load.prime(arguments.replay_keys).await?;
    let next = || Keys::Fresh(Arc::new(AtomicU64::new(arguments.replay_keys)));
    let (bare_keys, fresh, replay) = (next(), next(), Keys::Replay(arguments.replay_keys));
    // Both servers warm up.
    let mut effects = load.effects().await?;
    let warm = length.min(Duration::from_millis(500));
    bare_load.window(&bare_keys, warm).await?;
    let mut keys_sent = load.window(&fresh, warm).await?.sent;
    load.window(&replay, warm).await?;
    effects += keys_sent;

    let resident_before = guarded.resident();
    keys_sent = 0;
    let mut rows = [Row::new(contender, "fresh"), Row::new(contender, "replay")];
    let mut before = timed(&bare, &mut bare_load, &bare_keys, length).await?;
    for round in 1..=3 * arguments.rounds {
        if keys_sent >= arguments.max_keys {
            eprintln!("{}: stops at {keys_sent} keys", contender.name());
            break;
        }
        for (row, keys) in rows.iter_mut().zip([&fresh, &replay]) {
            let window = timed(&guarded, &mut load, keys, length).await?;
            let after = timed(&bare, &mut bare_load, &bare_keys, length).await?;
            let Window { sent, failed, replayed, .. } = window.window;
            let is_fresh = row.mode == "fresh";
            row.wrong += failed;
            if is_fresh {
                effects += sent;
                keys_sent += sent;
            }
            // What happened is what should have, no more and no less.
            if contender != Contender::Bare {
                row.wrong += replayed.abs_diff(if is_fresh { 0 } else { sent });
                let happened = load.effects().await?;
                row.wrong += happened.abs_diff(effects);
                effects = happened;
            }
            let pair = Pair::new(&before, &window, &after);
            eprintln!("{} {} {round}: {pair}", contender.name(), row.mode);
            row.add(pair);
            before = after;
        }
        if rows.iter().all(|row| row.undisturbed() >= arguments.rounds as usize) {
            break;
        }
    }
    if let (Some(before), Some(after)) = (resident_before, guarded.resident()) {
        rows[0].bytes_per_key = Some(after.saturating_sub(before) / keys_sent.max(1));
    }
    Ok(rows.into())
}

/// A window, and what share of a core its server, the load and all others took.
#[derive(Debug)]
struct Timed {
    window: Window,
    server: Option<f64>,
    load: Option<f64>,
    others: Option<f64>,
}

async fn timed(server: &Server, load: &mut Load, keys: &Keys, length: Duration) -> Result<Timed> {
    let clocks = || [server.busy(), server::busy("self"), server::all_busy()];
    let started = Instant::now();
    let before = clocks();
    let window = load.window(keys, length).await?;
    let after = clocks();
    let took = started.elapsed().as_secs_f64();
    let share =
        |clock: usize| Some((after[clock]?.saturating_sub(before[clock]?)).as_secs_f64() / took);
    let (server, load, all) = (share(0), share(1), share(2));
    let others = all.zip(server).zip(load).map(|((all, server), load)| all - server - load);
    Ok(Timed { window, server, load, others })
}
