//! A private NATS server with JetStream.

use std::{env, io::Read as _, net::TcpStream, sync::OnceLock, time::Duration};

use crate::{
    process::{Process, free_port, temporary_directory},
    program,
    wait::until,
};

/// A NATS server of the test's own, with JetStream on disk. Dropping it ends it.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
}

impl NatsServer {
    /// Starts a server and waits until it answers; `None` where there is no `nats-server`.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program::find("nats-server", &[])?;
        Some(until("a NATS server that starts", || {
            let (port, directory) = (free_port(), temporary_directory("nats", None));
            let store = directory.join("jetstream").display().to_string();
            let port_text = port.to_string();
            let arguments = ["-a", "127.0.0.1", "-p", &port_text, "-js", "-sd", &store];
            let arguments = arguments.map(str::to_owned);
            let process = Process::start("NATS", &program, &arguments, directory, None, "KILL");
            let mut server = Self { process, port };
            server.wait_until_ready().then_some(server)
        }))
    }

    /// The URL of the server that all tests of this process share, or of `NATS_URL`: use subjects
    /// and streams of your own. `None` where there is neither.
    pub fn shared() -> Option<&'static str> {
        static SHARED: OnceLock<Option<(String, Option<NatsServer>)>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match env::var("NATS_URL") {
            Ok(url) if !url.is_empty() => Some((url, None)),
            _ => Self::start().map(|server| (server.url(), Some(server))),
        });
        shared.as_ref().map(|(url, _)| url.as_str())
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// `127.0.0.1:<port>`, for a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
        assert!(self.wait_until_ready(), "NATS did not start again: {}", self.process.log());
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    fn wait_until_ready(&mut self) -> bool {
        until("a NATS server that greets", || {
            if self.process.has_ended() {
                return Some(false);
            }
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            let mut greeting = [0; 4];
            stream.read_exact(&mut greeting).ok()?;
            (&greeting == b"INFO").then_some(true)
        })
    }
}
