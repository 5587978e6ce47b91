//! The walk-through of the README, typed again.
//!
//! `UPDATE_README=1 cargo test -p payments readme` writes what was printed into the README.

use std::{fmt::Write as _, fs, path::Path, process::Stdio, rc::Rc};

use idempotent_servers::RedisServer;
use tokio::{process::Command, time::timeout};

use crate::{
    place::{Place, Spot},
    server::{PATIENCE, Server},
};

/// The services of the README, by the addresses at which it says that they listen.
struct Services {
    listening: Vec<(&'static str, Rc<Spot>, Server)>,
}

impl Services {
    /// `None` where a server is missing.
    async fn start() -> Option<Self> {
        let redis = RedisServer::shared()?;
        let [memory, sqlite, postgres] = [Place::Memory, Place::Sqlite, Place::Postgres]
            .map(|place| Spot::new(place).map(Rc::new));
        let (sqlite, postgres) = (sqlite?, postgres?);
        let payments_in_postgres = Rc::new(Spot::at(postgres.database(), Some(redis)));
        let mut listening = Vec::new();
        for (address, spot) in [
            ("127.0.0.1:3000", memory?),
            ("127.0.0.1:3001", Rc::clone(&sqlite)),
            ("127.0.0.1:3002", sqlite),
            ("127.0.0.1:3003", postgres),
            ("127.0.0.1:3004", payments_in_postgres),
        ] {
            let server = spot.start(&[]).await;
            listening.push((address, spot, server));
        }
        Some(Self { listening })
    }

    async fn kill_and_start_again(&mut self, address: &str) {
        let at = self.listening.iter().position(|(own, ..)| *own == address).unwrap();
        let (address, spot, server) = self.listening.remove(at);
        server.kill().await;
        let server = spot.start(&[]).await;
        self.listening.push((address, spot, server));
    }

    /// What a terminal shows of `command`; there, curl draws no progress.
    async fn run(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (address, _, server) in &self.listening {
            command = command.replace(address, &server.address().to_string());
        }
        let script = format!("curl() {{ command curl -sS \"$@\"; }}\n{command} 2>&1");
        let shell = Command::new("sh").arg("-c").arg(script).kill_on_drop(true).output();
        let output = timeout(PATIENCE, shell).await.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    }
}

#[tokio::test]
async fn the_readme_prints_what_is_printed() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        eprintln!("SKIPPED: the README is not checked: there is no curl here");
        return;
    }
    let Some(services) = Services::start().await else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let typed = typed_again(&readme, services).await;
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, typed).unwrap();
    } else {
        for (line, (written, printed)) in readme.lines().zip(typed.lines()).enumerate() {
            assert_eq!(lasting(written), lasting(printed), "line {} of the README", line + 1);
        }
        assert_eq!(readme.lines().count(), typed.lines().count());
    }
}

/// The README, with what its commands print now.
async fn typed_again(readme: &str, mut services: Services) -> String {
    let mut typed = String::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        writeln!(typed, "{line}").unwrap();
        if let Some(address) = line.strip_prefix("<!-- kill -9, and start again: ") {
            services.kill_and_start_again(address.trim_end_matches(" -->")).await;
        }
        if line != "```console" {
            continue;
        }
        let mut block = lines.by_ref().take_while(|line| *line != "```");
        while let Some(line) = block.next() {
            if !line.starts_with("$ ") {
                continue;
            }
            let mut command = line.to_owned();
            while command.ends_with('\\') {
                write!(command, "\n{}", block.next().unwrap()).unwrap();
            }
            let printed = services.run(&command["$ ".len()..]).await;
            writeln!(typed, "{command}\n{}", printed.trim_end()).unwrap();
        }
        writeln!(typed, "```").unwrap();
    }
    typed
}

/// A line without what differs from time to time.
fn lasting(line: &str) -> &str {
    for prefix in ["date: ", "curl: (28) "] {
        if line.starts_with(prefix) {
            return prefix;
        }
    }
    line.trim_end()
}
