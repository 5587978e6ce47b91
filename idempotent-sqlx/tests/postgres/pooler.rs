//! Behind a pooler that gives each transaction to another server session.

use std::net::SocketAddr;

use idempotent_runtime::{Acquired, KeyState, Store as _};
use idempotent_servers::PostgresServer;
use idempotent_sqlx::{
    PostgresStore, Transactional as _,
    sqlx::{
        PgPool, Postgres,
        postgres::{PgConnectOptions, PgPoolOptions},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::kit::{LONG, acquire, granted, key, record};

/// One message of the protocol: its type and all of its bytes.
async fn message(from: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = from.read_u8().await.ok()?;
    let length = from.read_u32().await.ok()?;
    let mut bytes = vec![kind];
    bytes.extend(length.to_be_bytes());
    bytes.resize(1 + length as usize, 0);
    from.read_exact(&mut bytes[5..]).await.ok()?;
    Some((kind, bytes))
}

/// Hands on what a session answers, to its last message of one exchange. Answers whether a transaction
/// is open in it.
async fn answer(from: &mut TcpStream, mut to: Option<&mut TcpStream>) -> Option<bool> {
    loop {
        let (kind, bytes) = message(from).await?;
        if let Some(to) = &mut to {
            to.write_all(&bytes).await.ok()?;
        }
        if kind == b'Z' {
            return Some(bytes[5] != b'I');
        }
    }
}

/// Two sessions of the server for one client, in turn: as a pooler may.
async fn serve(mut client: TcpStream, server: String) -> Option<()> {
    let length = client.read_u32().await.ok()?;
    let mut startup = length.to_be_bytes().to_vec();
    startup.resize(length as usize, 0);
    client.read_exact(&mut startup[4..]).await.ok()?;
    if startup[4..8] == 80_877_103_u32.to_be_bytes() {
        // No TLS; the client begins again.
        client.write_all(b"N").await.ok()?;
        return Box::pin(serve(client, server)).await;
    }
    let mut sessions = Vec::new();
    for first in [true, false] {
        let mut session = TcpStream::connect(&server).await.ok()?;
        session.write_all(&startup).await.ok()?;
        answer(&mut session, first.then_some(&mut client)).await?;
        sessions.push(session);
    }
    let mut turn = 0;
    loop {
        let mut request = Vec::new();
        loop {
            let (kind, bytes) = message(&mut client).await?;
            request.extend(bytes);
            match kind {
                b'Q' | b'S' => break,
                b'X' => return None,
                _ => {}
            }
        }
        let session = &mut sessions[turn % 2];
        session.write_all(&request).await.ok()?;
        // An open transaction stays where it is.
        if !answer(session, Some(&mut client)).await? {
            turn += 1;
        }
    }
}

async fn pooler(server: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, server.clone()));
        }
    });
    address
}

fn pool(url: &str, through: SocketAddr, cache: usize) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options
        .host("127.0.0.1")
        .port(through.port())
        .ssl_mode(idempotent_sqlx::sqlx::postgres::PgSslMode::Disable)
        .statement_cache_capacity(cache);
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    pool.connect_lazy_with(options)
}

#[tokio::test]
async fn without_prepared_statements_every_step_works_behind_a_transaction_pooler() {
    let Some(server) = PostgresServer::start() else { return };
    let database = server.database();
    let through = pooler(server.address()).await;
    let url = database.url();

    // What is prepared in one session is not there in the next.
    let prepared = PostgresStore::new(pool(url, through, 100));
    prepared.migrate().await.unwrap();
    let mut failed = false;
    for _ in 0..4 {
        failed |= acquire(&prepared, &key(), LONG).await.is_err();
    }
    assert!(failed, "the pooler of this test is none");

    let store = PostgresStore::builder().prepared_statements(false).pool(pool(url, through, 0));
    for _ in 0..3 {
        store.migrate().await.unwrap();
        let lease = granted(&store, &key(), LONG).await;
        store.renew(&lease, LONG).await.unwrap();
        store.save_step(&lease, "it's \\ \"a\" step", b"\0'"[..].into()).await.unwrap();
        store.release(&lease, LONG).await.unwrap();
        let lease = granted(&store, &lease.key, LONG).await;
        assert_eq!(&lease.steps["it's \\ \"a\" step"][..], b"\0'");
        let ledger = pool(url, through, 0);
        let mut tx = ledger.begin().await.unwrap();
        Postgres::write_record(&store, &mut tx, &lease, &record("it's paid"), LONG).await.unwrap();
        tx.commit().await.unwrap();
        let found = acquire(&store, &lease.key, LONG).await;
        assert!(matches!(found, Ok(Acquired::Completed { .. })), "{found:?}");
        let state = store.inspect(&lease.key).await.unwrap();
        assert!(matches!(state, KeyState::Completed { .. }), "{state:?}");
        assert!(store.forget(&lease.key, false).await.unwrap());
        store.purge_expired(10).await.unwrap();
    }
}
