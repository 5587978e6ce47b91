//! The servers start, can be broken in each way, and leave nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use idempotent_servers::{
    Answers, NatsServer, PostgresServer, Proxy, RedisCluster, RedisServer, redis_command, until,
};

#[test]
fn a_durable_redis_keeps_what_it_answered_when_it_is_killed() {
    let Some(mut server) = RedisServer::builder().durable().start() else { return };
    server.command(&["SET", "a", "1"]);
    server.kill();
    assert!(redis_command(server.port(), &["PING"]).is_err());
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "1");
    server.stop();
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "1");
}

#[test]
fn a_paused_redis_answers_when_it_is_resumed() {
    let Some(mut server) = RedisServer::start() else { return };
    server.pause();
    let port = server.port();
    let asked = std::thread::spawn(move || redis_command(port, &["PING"]));
    until("a connection to the paused server", || (!asked.is_finished()).then_some(()));
    server.resume();
    assert_eq!(asked.join().unwrap().unwrap(), "PONG");
}

#[test]
fn a_cluster_of_three_redirects_and_agrees() {
    let Some(cluster) = RedisCluster::start() else { return };
    assert_eq!(cluster.urls().len(), 3);
    let slot: u32 = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", "x"]).parse().unwrap();
    let owner = cluster.master_of_slot(slot);
    assert_eq!(cluster.nodes()[owner].command(&["SET", "x", "1"]), "OK");
    let other = &cluster.nodes()[(owner + 1) % 3];
    assert!(redis_command(other.port(), &["GET", "x"]).unwrap_err().starts_with("MOVED"));
}

#[test]
fn postgres_keeps_its_commits_when_it_is_killed() {
    let Some(mut server) = PostgresServer::start() else { return };
    let database = server.database();
    database.run("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    server.kill();
    server.restart();
    assert_eq!(database.run("SELECT n FROM t"), "1");
    server.pause();
    server.resume();
    server.stop();
    server.restart();
    assert_eq!(database.run("SELECT n FROM t"), "1");
    assert_ne!(server.database().name(), database.name());
}

#[test]
fn nats_starts_and_starts_again() {
    let Some(mut server) = NatsServer::start() else { return };
    server.kill();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart();
    server.stop();
    server.restart();
}

/// Says to `a_test_that_is_killed` that it is to wait for that.
const KILLED: &str = "IDEMPOTENT_TEST_THAT_IS_KILLED";

/// Run by `a_killed_test_leaves_no_server_behind` in a process of its own.
#[test]
fn a_test_that_is_killed() {
    if std::env::var_os(KILLED).is_none() {
        return;
    }
    let redis = RedisServer::start().unwrap();
    let postgres = PostgresServer::start().unwrap();
    // Not `println!`, which the harness keeps.
    writeln!(std::io::stdout(), "ports {} {}", redis.port(), postgres.port()).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    if RedisServer::shared().is_none() || PostgresServer::shared().is_none() {
        return;
    }
    let temporary = tempdir();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_test_that_is_killed", "--nocapture"])
        .env(KILLED, "1")
        .env("TMPDIR", &temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ports: Vec<u16> = lines
        .map_while(Result::ok)
        .find_map(|line| {
            let ports = line.split("ports ").nth(1)?.to_owned();
            Some(ports.split(' ').map(|port| port.parse().unwrap()).collect())
        })
        .unwrap();
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));
    child.kill().unwrap();
    child.wait().unwrap();
    until("servers that end with their test", || {
        ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()).then_some(())
    });
    until("directories that are removed", || {
        fs::read_dir(&temporary).unwrap().next().is_none().then_some(())
    });
    fs::remove_dir(&temporary).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("idempotent-killed-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    // PostgreSQL runs as somebody else, who must reach its directory and may remove it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(&directory, mode).unwrap();
    directory
}

/// A server that answers each line with itself.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while lines.read_line(&mut line).is_ok_and(|len| len > 0) {
                    (&stream).write_all(line.as_bytes()).unwrap();
                    line.clear();
                }
            });
        }
    });
    address
}

fn ask(stream: &mut BufReader<TcpStream>, line: &str) -> std::io::Result<String> {
    stream.get_mut().write_all(line.as_bytes())?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    Ok(answer)
}

fn connect(proxy: &Proxy) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    BufReader::new(stream)
}

#[test]
fn a_proxy_counts_round_trips() {
    let proxy = Proxy::new(echo());
    let mut stream = connect(&proxy);
    for n in 1..=3 {
        assert_eq!(ask(&mut stream, "a\n").unwrap(), "a\n");
        assert_eq!(proxy.round_trips(), n);
    }
    assert_eq!(proxy.connections(), 1);
    assert_eq!(proxy.url("redis://u:p@h:1/0"), format!("redis://u:p@{}/0", proxy.address()));
    assert_eq!(proxy.url("redis://h"), format!("redis://{}", proxy.address()));
}

#[test]
fn a_proxy_loses_answers_cuts_and_stalls() {
    let proxy = Proxy::new(echo());
    let mut stream = connect(&proxy);
    proxy.lose_answers(1, Answers::Swallow);
    stream.get_mut().write_all(b"lost\n").unwrap();
    until("a lost answer", || (proxy.lost_answers() == 1).then_some(()));
    assert_eq!(ask(&mut stream, "found\n").unwrap(), "found\n");

    proxy.lose_answers(1, Answers::Cut);
    assert_eq!(ask(&mut stream, "lost\n").unwrap_or_default(), "");
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "found\n").unwrap(), "found\n");

    proxy.stall();
    stream.get_mut().write_all(b"held\n").unwrap();
    proxy.resume();
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    assert_eq!(answer, "held\n");

    proxy.cut();
    assert_eq!(ask(&mut stream, "lost\n").unwrap_or_default(), "");
    proxy.refuse(true);
    assert_eq!(ask(&mut connect(&proxy), "refused\n").unwrap_or_default(), "");
}
