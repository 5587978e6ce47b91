//! One contender in a process of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use axum::serve::ListenerExt as _;
use clap::ValueEnum;
use core_affinity::CoreId;
use tokio::{net::TcpListener, runtime::Builder};

use crate::contender::Contender;

/// Binds this thread, and the threads it starts, to one core; says whether that worked.
pub(crate) fn pin(core: Option<usize>) -> bool {
    core.is_some_and(|id| core_affinity::set_for_current(CoreId { id }))
}

/// What a server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// One worker thread, as `#[tokio::main]` starts on a machine of one core.
    MultiThread,
    /// No thread but the main one.
    CurrentThread,
}

impl Runtime {
    fn name(self) -> &'static str {
        match self {
            Self::MultiThread => "multi-thread",
            Self::CurrentThread => "current-thread",
        }
    }

    fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        match self {
            Self::MultiThread => Builder::new_multi_thread().worker_threads(1).enable_all().build(),
            Self::CurrentThread => Builder::new_current_thread().enable_all().build(),
        }
    }
}

/// Serves `contender` on a free port until standard input ends.
pub(crate) fn serve(contender: Contender, runtime: Runtime, core: Option<usize>) -> Result<()> {
    let pinned = pin(core);
    // When the parent is gone, so is this.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let router = contender.router()?;
        println!("{address} {pinned}");
        std::io::stdout().flush()?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

/// A running server; dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) pinned: bool,
}

impl Server {
    pub(crate) fn start(
        contender: Contender,
        runtime: Runtime,
        core: Option<usize>,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", contender.name(), runtime.name()]);
        if let Some(core) = core {
            command.arg("--core").arg(core.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        let mut server =
            Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), pinned: false };
        let mut line = String::new();
        BufReader::new(stdout.context("no pipe from the server")?).read_line(&mut line)?;
        let Some((address, pinned)) = line.trim_end().split_once(' ') else {
            bail!("the server of {} did not start", contender.name());
        };
        server.address = address.parse()?;
        server.pinned = pinned.parse()?;
        Ok(server)
    }

    /// The memory it occupies, in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// The processor time it has used.
    pub(crate) fn busy(&self) -> Option<Duration> {
        busy(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that `process` (a number, or `self`) has used, in steps of 10 ms.
pub(crate) fn busy(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field, a name in parentheses, may hold spaces.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(10 * (user + system)))
}

/// The processor time that everything on this machine has used, and what its host took away.
pub(crate) fn all_busy() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(Duration::from_millis(10 * (user + nice + system + irq + softirq + steal)))
}
