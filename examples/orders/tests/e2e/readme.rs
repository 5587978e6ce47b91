//! The walk-through of the README, typed again.
//!
//! `UPDATE_README=1 cargo test -p orders readme` writes what was printed into the README.

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::{
    process::{PATIENCE, Process},
    world::World,
};

/// Where the README says that the service listens.
const ADDRESS: &str = "127.0.0.1:3001";

/// What is typed into the first terminal.
const STARTS: [(&str, &str); 2] =
    [("cargo run -p orders -- serve", "serve"), ("cargo run -p orders", "all")];

/// How other tasks are typed.
const OTHERS: &str = "cargo run -q -p orders --";

#[tokio::test]
async fn the_readme_prints_what_is_printed() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        eprintln!("the README is NOT checked: there is no curl here");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let typed = typed_again(&readme).await;
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
async fn typed_again(readme: &str) -> String {
    let world = World::embedded();
    let mut running: Option<Process> = None;
    let mut typed = String::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        writeln!(typed, "{line}").unwrap();
        if let Some((_, task)) = STARTS.into_iter().find(|(start, _)| *start == line) {
            if let Some(process) = running.take() {
                process.stop().await;
            }
            running = Some(world.start(&[task]).await);
        }
        if line != "```console" {
            continue;
        }
        let process = running.as_ref().expect("the README has started something");
        let mut block = lines.by_ref().take_while(|line| *line != "```");
        while let Some(line) = block.next() {
            if !line.starts_with("$ ") {
                continue;
            }
            let mut command = line.to_owned();
            while command.ends_with('\\') {
                write!(command, "\n{}", block.next().unwrap()).unwrap();
            }
            let printed = run(&command["$ ".len()..], &world, process).await;
            writeln!(typed, "{command}\n{}", printed.trim_end()).unwrap();
        }
        writeln!(typed, "```").unwrap();
    }
    typed
}

/// What a terminal shows of `command`; there, curl draws no progress.
async fn run(command: &str, world: &World, process: &Process) -> String {
    let command = command
        .replace(ADDRESS, &process.address().to_string())
        .replace(OTHERS, env!("CARGO_BIN_EXE_orders"));
    let script = format!("curl() {{ command curl -sS \"$@\"; }}\n{command} 2>&1");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).env("ORDERS_DATABASE", world.database_url()).kill_on_drop(true);
    let output = timeout(PATIENCE, shell.output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

/// A line without what differs from time to time.
fn lasting(line: &str) -> &str {
    // An id of a message belongs to one life of its key.
    let differ = ["date: ", "message that was never published: message "];
    let begins = differ.into_iter().find(|begin| line.starts_with(begin));
    begins.unwrap_or_else(|| line.trim_end())
}
