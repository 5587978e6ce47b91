//! The walk-through of the README, typed again.
//!
//! `UPDATE_README=1 cargo test -p payments readme` writes what was printed into the README.

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::server::{PATIENCE, Server};

/// Where the README says that the service listens.
const ADDRESS: &str = "127.0.0.1:3000";

#[tokio::test]
async fn the_readme_prints_what_is_printed() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        eprintln!("the README is NOT checked: there is no curl here");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let typed = typed_again(&readme, &Server::start().await).await;
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
async fn typed_again(readme: &str, server: &Server) -> String {
    let mut typed = String::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        writeln!(typed, "{line}").unwrap();
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
            let printed = run(&command["$ ".len()..], server).await;
            writeln!(typed, "{command}\n{}", printed.trim_end()).unwrap();
        }
        writeln!(typed, "```").unwrap();
    }
    typed
}

/// What a terminal shows of `command`; there, curl draws no progress.
async fn run(command: &str, server: &Server) -> String {
    let command = command.replace(ADDRESS, &server.address().to_string());
    let script = format!("curl() {{ command curl -sS \"$@\"; }}\n{command} 2>&1");
    let shell = Command::new("sh").arg("-c").arg(script).kill_on_drop(true).output();
    let output = timeout(PATIENCE, shell).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
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
