//! The binary as a child process, ended with the test that started it.

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

use crate::client::{Answer, Call, Client, NoAnswer};

/// How long a test waits for something that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The binary, without what the environment of the tests may say.
pub(crate) fn orders() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ORDERS_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A process that does its work.
pub(crate) struct Process {
    child: Child,
    announced: String,
    log: watch::Receiver<Vec<String>>,
}

impl Process {
    /// Runs `command` until it has said what it does.
    pub(crate) async fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut stdout = lines(child.stdout.take().unwrap());
        let announced = stdout.wait_for(|lines| !lines.is_empty());
        let announced = match timeout(PATIENCE, announced).await.unwrap() {
            Ok(lines) => lines[0].clone(),
            Err(error) => panic!("{error}: {:?} ended: {:#?}", command.as_std(), *log.borrow()),
        };
        Self { child, announced, log }
    }

    pub(crate) fn announced(&self) -> &str {
        &self.announced
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.announced.strip_prefix("listening on http://");
        address.expect(&self.announced).parse().unwrap()
    }

    pub(crate) async fn call(&self, call: &Call) -> Answer {
        self.try_call(call).await.unwrap()
    }

    pub(crate) async fn try_call(&self, call: &Call) -> Result<Answer, NoAnswer> {
        Client::new(self.address()).send(call).await
    }

    /// Waits until `count` lines of the log contain `text`.
    pub(crate) async fn logged(&self, text: &str, count: usize) {
        let mut log = self.log.clone();
        let enough =
            |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count() >= count;
        let enough = timeout(PATIENCE, log.wait_for(enough)).await.map(|found| found.is_ok());
        assert_eq!(enough, Ok(true), "{count} x {text:?} in {:#?}", *self.log.borrow());
    }

    /// Waits until the process is where a test kills it.
    pub(crate) async fn at_fault(&self) {
        self.logged("fault: waiting to be killed", 1).await;
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap();
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().await;
        assert!(kill.unwrap().success());
    }

    /// The exit status, and the whole log.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        // The sender is gone once all lines were read.
        while self.log.changed().await.is_ok() {}
        (status, self.log())
    }

    /// SIGTERM, and an end in order.
    pub(crate) async fn stop(self) {
        self.signal("TERM").await;
        let (status, log) = self.ended().await;
        assert!(status.success(), "{log:#?}");
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
