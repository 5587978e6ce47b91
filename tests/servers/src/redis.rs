//! A private Redis server.

use std::{env, path::Path, sync::OnceLock};

use crate::{
    process::{Process, free_port, temporary_directory},
    program,
    resp::redis_command,
    wait::until,
};

/// A Redis server of the test's own. Dropping it ends it.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
}

/// How a [`RedisServer`] is started. By default it keeps nothing on disk.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisBuilder {
    arguments: Vec<String>,
}

impl RedisBuilder {
    /// Adds one option of `redis-server`: `option("maxmemory", "10mb")`. The last one wins.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Every write is on disk before it is answered (`appendfsync always`).
    pub fn durable(self) -> Self {
        self.option("appendonly", "yes").option("appendfsync", "always")
    }

    /// A replica of `master`.
    pub fn replica_of(self, master: &RedisServer) -> Self {
        self.option("replicaof", &format!("127.0.0.1 {}", master.port()))
    }

    /// Starts the server and waits until it answers; `None` where there is no `redis-server`.
    #[must_use]
    pub fn start(self) -> Option<RedisServer> {
        let program = program::find("redis-server", &[])?;
        Some(until("a Redis server that starts", || {
            let mut server = self.launch(&program);
            // Somebody else may have taken the port in between.
            server.wait_until_ready().then_some(server)
        }))
    }

    fn launch(&self, program: &Path) -> RedisServer {
        let (port, directory) = (free_port(), temporary_directory("redis", None));
        let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--port", &port.to_string()]
            .into_iter()
            // A master's own delay is what its replicas wait for: 5 s, in case that more of them come.
            .chain(["--repl-diskless-sync-delay", "0"])
            .chain(["--save", "", "--appendonly", "no", "--dir"])
            .map(str::to_owned)
            .collect();
        arguments.push(directory.display().to_string());
        arguments.extend(self.arguments.iter().cloned());
        let process = Process::start("Redis", program, &arguments, directory, None, "KILL");
        RedisServer { process, port }
    }
}

impl RedisServer {
    /// Configures a server.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// A server that keeps nothing on disk; `None` where there is no `redis-server`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// The URL of the server that all tests of this process share, or of `REDIS_URL`: use a prefix
    /// of your own. `None` where there is neither.
    pub fn shared() -> Option<&'static str> {
        static SHARED: OnceLock<Option<(String, Option<RedisServer>)>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match env::var("REDIS_URL") {
            Ok(url) if !url.is_empty() => Some((url, None)),
            _ => Self::start().map(|server| (server.url(), Some(server))),
        });
        shared.as_ref().map(|(url, _)| url.as_str())
    }

    /// `redis://127.0.0.1:<port>/`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`, for a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a command over a connection of its own; see [`redis_command`].
    ///
    /// # Panics
    ///
    /// When the server answers an error or not at all.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        redis_command(self.port, arguments).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, an orderly end; returns when the process is gone.
    pub fn stop(&mut self) {
        self.process.end("TERM");
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and
    /// files, and waits until it answers.
    pub fn restart(&mut self) {
        self.process.start_again();
        assert!(self.wait_until_ready(), "Redis did not start again: {}", self.process.log());
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Whether it came up; `false` when it ended instead.
    fn wait_until_ready(&mut self) -> bool {
        let ready = until("a Redis server that has loaded what it keeps", || {
            match redis_command(self.port, &["INFO"]) {
                Ok(info) if info.contains("loading:1") => None,
                Ok(info) => Some(info),
                Err(_) if self.process.has_ended() => Some(String::new()),
                Err(_) => None,
            }
        });
        let own = self.process.pid().map(|pid| format!("process_id:{pid}"));
        own.is_some_and(|own| ready.lines().any(|line| line.trim() == own))
    }
}
