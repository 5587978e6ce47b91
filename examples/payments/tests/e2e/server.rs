//! The service as a child process, ended with the test that started it.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::client::Call;

/// How long a test waits for something that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The binary, without what the environment of the tests may say.
pub(crate) fn payments() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payments"));
    for name in ["LISTEN", "DATABASE", "STORE", "PREFIX", "LEASE", "WAIT", "DRAIN", "LOG"] {
        command.env_remove(format!("PAYMENTS_{name}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: watch::Receiver<Vec<String>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let mut command = payments();
        Self::run(command.args(["--listen", "127.0.0.1:0"]).args(options)).await
    }

    /// Runs `command` until it has said where it listens.
    pub(crate) async fn run(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut stdout = lines(child.stdout.take().unwrap());
        let announced = stdout.wait_for(|lines| !lines.is_empty());
        let announced = timeout(PATIENCE, announced).await.unwrap().unwrap()[0].clone();
        let address = announced.strip_prefix("listening on http://").expect(&announced);
        Self { child, address: address.parse().unwrap(), log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        Call::new(self.address, "GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        Call::new(self.address, "POST", path)
    }

    /// A payment of 1000 USD.
    pub(crate) fn pay(&self, key: &str) -> Call {
        self.post("/payments").key(key).json(r#"{"amount": 1000, "currency": "USD"}"#)
    }

    /// How many payments were made: the effects.
    pub(crate) async fn count(&self) -> u64 {
        self.get("/payments").answer().await.json()["count"].as_u64().unwrap()
    }

    /// Waits until `count` lines of the log contain `text`.
    pub(crate) async fn logged(&self, text: &str, count: usize) {
        let mut log = self.log.clone();
        let enough =
            |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count() >= count;
        let enough = timeout(PATIENCE, log.wait_for(enough)).await.map(|found| found.is_ok());
        assert_eq!(enough, Ok(true), "{count} x {text:?} in {:#?}", *self.log.borrow());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    #[cfg(unix)]
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap();
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().await;
        assert!(kill.unwrap().success());
    }

    /// SIGKILL: nothing is ended in good order.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The exit status, and the whole log.
    #[cfg(unix)]
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        // The sender is gone once all lines were read.
        while self.log.changed().await.is_ok() {}
        (status, self.log())
    }
}

fn lines(output: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|seen| seen.push(line));
        }
    });
    receiver
}
