//! The command line.

use crate::{process::orders, world::World};

async fn refused(arguments: &[&str]) -> String {
    let output = orders().args(arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_is_wrong_is_told_without_passwords() {
    for (arguments, says) in [
        (
            &["--database", "mysql://me:hunter2@host/db"][..],
            "expected `sqlite:FILE` or `postgres://…`",
        ),
        (&["--database", "sqlite::memory:"], "expected a file"),
        (&["--broker", "amqp://me:hunter2@host"], "expected `channel` or `nats://…`"),
        (&["--relay-lease", "10ms"], "expected at least 1s"),
        (
            &["--database", "postgres://me:hunter2@127.0.0.1:1/db"],
            "cannot open the database at 127.0.0.1:1/db",
        ),
        (&["--in-flight", "0"], "0 is not in 1.."),
        (&["--fault", "nowhere"], "expected one of order-written, "),
        (&["deliver"], "unrecognized subcommand"),
    ] {
        let told = refused(arguments).await;
        assert!(told.contains(says), "{arguments:?}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_relay_or_a_consumer_alone_needs_a_broker() {
    let world = World::embedded();
    for task in ["relay", "consume"] {
        let output = world.command(&[task]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("needs a broker outside of this process"), "{told}");
    }
    let output = world.command(&["--broker", "nats://me:hunter2@127.0.0.1:1"]).output().await;
    let output = output.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot use the broker at 127.0.0.1:1"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn options_may_come_from_the_environment_and_before_the_task() {
    let world = World::embedded();
    let mut command = orders();
    command.args(["--listen", "127.0.0.1:0", "serve"]).env("ORDERS_DATABASE", world.database_url());
    let process = crate::process::Process::start(&mut command).await;
    assert!(process.announced().starts_with("listening on http://127.0.0.1:"));
    process.stop().await;
}
