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
    let wrong: [(&[&str], &str); 7] = [
        (&["--listen", "nowhere"], "invalid socket address"),
        (&["--database", "oracle"], "expected `memory`"),
        (&["--store", "disk"], "expected `memory`"),
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
    for option in ["listen", "database", "store", "drain", "log"] {
        assert!(help.contains(&format!("--{option} <")), "{help}");
        assert!(help.contains(&format!("[env: PAYMENTS_{}", option.to_uppercase())), "{help}");
    }
}
