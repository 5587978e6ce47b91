//! The load: connections kept alive, one request in flight on each.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use idempotent_benches::{BODY, PATH};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// The cookie that names a session.
pub(crate) const COOKIE: &str = "session";

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Which keys a window sends.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// A new one with each request.
    Fresh(Arc<AtomicU64>),
    /// The first so many, over and over.
    Replay(u64),
}

/// What came back on one connection in one window.
#[derive(Default)]
struct Tally {
    latencies: Vec<u32>,
    sent: u64,
    failed: u64,
    replayed: u64,
}

/// What one window measured.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) per_second: f64,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
    /// Requests sent and answered, those that ended after the window too.
    pub(crate) sent: u64,
    /// Answers that were not `201`.
    pub(crate) failed: u64,
    /// Answers that said they were a replay.
    pub(crate) replayed: u64,
}

/// All connections to one server.
pub(crate) struct Load {
    connections: Vec<Connection>,
    control: Connection,
}

impl Load {
    pub(crate) async fn connect(address: SocketAddr, count: usize, shape: Shape) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(address, shape).await?);
        }
        Ok(Self { connections, control: Connection::open(address, shape).await? })
    }

    /// How often the effect of the server's handler has happened.
    pub(crate) async fn effects(&mut self) -> Result<u64> {
        const GET: &[u8] = b"GET /effects HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        self.control.exchange(Some(GET)).await?;
        Ok(std::str::from_utf8(&self.control.body)?.parse()?)
    }

    /// Sends the keys below `count` once each.
    pub(crate) async fn prime(&mut self, count: u64) -> Result<()> {
        for key in 0..count {
            self.control.request.set_key(key);
            let answer = self.control.exchange(None).await?;
            ensure!(answer.status == 201, "answered {}", answer.status);
        }
        Ok(())
    }

    /// As many requests as the server takes in `length`.
    pub(crate) async fn window(&mut self, keys: &Keys, length: Duration) -> Result<Window> {
        let count = self.connections.len();
        let deadline = Instant::now() + length;
        let mut running = JoinSet::new();
        for (nth, mut connection) in self.connections.drain(..).enumerate() {
            let keys = keys.clone();
            running.spawn(async move {
                let tally = connection.run(&keys, nth as u64, deadline).await;
                (connection, tally)
            });
        }
        let mut sum = Tally::default();
        let ended = timeout(length + PATIENCE, async {
            while let Some(joined) = running.join_next().await {
                let (connection, tally) = joined?;
                self.connections.push(connection);
                let tally = tally?;
                sum.latencies.extend(tally.latencies);
                sum.sent += tally.sent;
                sum.failed += tally.failed;
                sum.replayed += tally.replayed;
            }
            anyhow::Ok(())
        });
        ended.await.context("the server stopped answering")??;
        ensure!(self.connections.len() == count, "a connection was lost");

        let mut latencies = sum.latencies;
        ensure!(latencies.len() >= 100, "fewer than 100 answers in a window: no p99");
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 answers")]
        let per_second = latencies.len() as f64 / length.as_secs_f64();
        let rank = latencies.len() * 99 / 100;
        let (_, &mut p99, above) = latencies.select_nth_unstable(rank);
        let worst = above.iter().copied().max().unwrap_or(p99);
        Ok(Window {
            per_second,
            p99: Duration::from_nanos(p99.into()),
            worst: Duration::from_nanos(worst.into()),
            sent: sum.sent,
            failed: sum.failed,
            replayed: sum.replayed,
        })
    }
}

struct Answer {
    status: u16,
    replayed: bool,
}

struct Connection {
    stream: TcpStream,
    request: Request,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr, shape: Shape) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = Request::new(shape);
        Ok(Self { stream, request, buffer: Vec::with_capacity(4096), body: Vec::new() })
    }

    async fn run(&mut self, keys: &Keys, nth: u64, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        // Connections begin at different keys, not all at the first.
        let mut turn = nth * 8;
        let mut sent_at = Instant::now();
        while sent_at < deadline {
            self.request.set_key(match keys {
                Keys::Fresh(next) => next.fetch_add(1, Ordering::Relaxed),
                Keys::Replay(count) => turn % count,
            });
            turn += 1;
            let answer = self.exchange(None).await?;
            let now = Instant::now();
            tally.sent += 1;
            tally.failed += u64::from(answer.status != 201);
            tally.replayed += u64::from(answer.replayed);
            if now < deadline {
                let nanos = (now - sent_at).as_nanos();
                tally.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
            }
            sent_at = now;
        }
        Ok(tally)
    }

    /// Sends the prepared request, or `other`, and reads the whole answer.
    async fn exchange(&mut self, other: Option<&[u8]>) -> Result<Answer> {
        self.stream.write_all(other.unwrap_or(&self.request.bytes)).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed a connection");
            }
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut head = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(start) = head.parse(&self.buffer)? else { continue };
            let status = head.code.context("an answer without status")?;
            let mut length = 0;
            let mut replayed = false;
            for header in &*head.headers {
                if header.name.eq_ignore_ascii_case("content-length") {
                    length = std::str::from_utf8(header.value)?.parse()?;
                } else if header.name.eq_ignore_ascii_case("idempotent-replayed")
                    || header.name.eq_ignore_ascii_case("idempotency-replayed")
                {
                    replayed = true;
                }
            }
            let end = start + length;
            while self.buffer.len() < end {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the server closed a connection within a body");
                }
            }
            ensure!(self.buffer.len() == end, "more came than was asked for");
            self.body.clear();
            self.body.extend_from_slice(&self.buffer[start..]);
            return Ok(Answer { status, replayed });
        }
    }
}

/// What requests look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// With a session cookie, and so many keys to a session.
    pub(crate) keys_per_session: Option<u64>,
}

/// The bytes of a request, of which only key and session change.
struct Request {
    bytes: Vec<u8>,
    key_at: usize,
    session: Option<(usize, u64)>,
}

impl Request {
    fn new(shape: Shape) -> Self {
        let mut bytes = format!(
            "POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n",
            BODY.len()
        )
        .into_bytes();
        let session = shape.keys_per_session.map(|keys| {
            bytes.extend_from_slice(format!("cookie: {COOKIE}=").as_bytes());
            let at = bytes.len();
            bytes.extend_from_slice(&[b'A'; 22]);
            bytes.extend_from_slice(b"\r\n");
            (at, keys)
        });
        bytes.extend_from_slice(b"idempotency-key: ");
        let key_at = bytes.len();
        bytes.extend_from_slice(b"00000000-0000-4000-8000-000000000000\r\n\r\n");
        bytes.extend_from_slice(BODY.as_bytes());
        Self { bytes, key_at, session }
    }

    /// Writes the key with that number: 36 characters that look like a UUID.
    fn set_key(&mut self, number: u64) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut rest = u128::from(mixed(number)) << 64 | u128::from(mixed(!number));
        for place in &mut self.bytes[self.key_at..self.key_at + 36] {
            if *place != b'-' {
                *place = HEX[(rest & 15) as usize];
                rest >>= 4;
            }
        }
        if let Some((at, keys)) = self.session {
            // 21 characters of 6 bits; the last stays, since only some are canonical there.
            let id = number / keys;
            let mut rest = u128::from(mixed(id)) << 64 | u128::from(mixed(!id));
            for place in &mut self.bytes[at..at + 21] {
                *place = BASE64_URL[(rest & 63) as usize];
                rest >>= 6;
            }
        }
    }
}

/// Different for different numbers, and without visible order (the finaliser of `SplitMix64`).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
