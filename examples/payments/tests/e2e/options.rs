//! The command line and the environment.

use std::process::Output;

use tokio::{net::TcpListener, time::timeout};

use crate::server::{PATIENCE, Server, payments};

async fn refused(options: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } =
        timeout(PATIENCE, payments().args(options).output()).await.unwrap().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn wrong_options_are_refused_with_what_was_expected() {
    let wrong: [(&[&str], &str); 10] = [
        (&["--listen", "nowhere"], "invalid socket address"),
        (&["--database", "oracle"], "expected `memory`"),
        (&["--database", "sqlite::memory:"], "expected a file"),
        (&["--store", "database"], "it needs `--database sqlite:payments.db`"),
        (&["--store", "disk"], "expected `memory`"),
        (&["--lease", "soon"], "--lease"),
        (&["--drain", "soon"], "--drain"),
        (&["--log", "info,x=louder"], "--log"),
        (&["--port", "80"], "--port"),
        (&["payments"], "payments"),
    ];
    for (options, says) in wrong {
        let (code, stderr) = refused(options).await;
        assert_eq!(code, Some(2), "{options:?}");
        assert!(stderr.contains("error: ") && stderr.contains(says), "{options:?}: {stderr}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr();
    let address = taken.unwrap();
    let _held = TcpListener::bind(address).await.unwrap();
    let (code, stderr) = refused(&["--listen", &address.to_string()]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with(&format!("payments: cannot listen on {address}: ")), "{stderr}");
}

/// Says in one line what to do, and does not tell the password.
#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hidden = "user:s3cret";
    let postgres = format!("postgres://{hidden}@{free}/payments?password=s3cret");
    let redis = format!("redis://{hidden}@{free}/0");
    let not_a_directory = format!("sqlite:{}/payments.db", env!("CARGO_BIN_EXE_payments"));
    let wrong: [(&[&str], &str, &str); 5] = [
        (&["--database", &postgres], "cannot reach PostgreSQL at", "--database"),
        (
            &["--database", &postgres, "--store", "memory"],
            "cannot reach PostgreSQL at",
            "--database",
        ),
        (
            &["--database", "postgres://localhost:port/x"],
            "cannot reach PostgreSQL at",
            "--database",
        ),
        (&["--store", &redis], "cannot reach Redis at", "--store"),
        (&["--database", &not_a_directory], "cannot open", "--database"),
    ];
    for (options, says, option) in wrong {
        let (code, stderr) = refused(options).await;
        assert_eq!(code, Some(1), "{stderr}");
        let line = stderr.lines().last().unwrap();
        assert!(line.starts_with("payments: ") && line.contains(says), "{stderr}");
        assert!(line.contains(option), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
        println!("{line}");
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_is_refused() {
    let (code, stderr) = refused(&["--lease", "0s"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("payments: ") && stderr.contains("lease"), "{stderr}");
}

/// A password stands in a value that is refused, too.
#[tokio::test]
async fn a_wrong_value_is_not_repeated() {
    for option in ["--database", "--store"] {
        let (code, stderr) = refused(&[option, "postgre://user:s3cret@localhost"]).await;
        assert_eq!(code, Some(2));
        assert!(stderr.contains(option) && !stderr.contains("s3cret"), "{stderr}");
    }
}

#[tokio::test]
async fn options_come_from_the_environment_too() {
    let mut command = payments();
    command.env("PAYMENTS_LISTEN", "127.0.0.1:0").env("PAYMENTS_DATABASE", "memory");
    command.env("PAYMENTS_STORE", "memory").env("PAYMENTS_DRAIN", "1s");
    let server = Server::run(command.env("PAYMENTS_LOG", "payments=info")).await;
    assert_ne!(server.address().port(), 0);
    assert_eq!(server.get("/health").answer().await.status, 200);

    let mut command = payments();
    let wrong = command.env("PAYMENTS_STORE", "disk").output().await.unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn the_command_line_wins_over_the_environment() {
    let mut command = payments();
    command.env("PAYMENTS_LISTEN", "nowhere").args(["--listen", "127.0.0.1:0"]);
    assert_eq!(Server::run(&mut command).await.get("/health").answer().await.status, 200);
}

#[tokio::test]
async fn help_names_every_option_and_its_environment_variable() {
    let help = payments().arg("--help").output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in ["listen", "database", "store", "prefix", "lease", "wait", "drain", "log"] {
        assert!(help.contains(&format!("--{option} <")), "{help}");
        assert!(help.contains(&format!("[env: PAYMENTS_{}", option.to_uppercase())), "{help}");
    }
}
