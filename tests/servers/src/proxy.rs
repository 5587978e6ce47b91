//! A TCP proxy on loopback that counts, cuts, stalls and loses answers.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Stands between a client and a server. Works on threads, so that a test under paused time can use
/// it. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// What becomes of the server's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// They arrive.
    #[default]
    Pass,
    /// Each is dropped and its connection cut: the client sees a broken connection after the server
    /// has done what it was asked.
    Cut,
    /// Each is dropped and the connection stays open: the client waits in vain.
    Swallow,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    connections: Mutex<Vec<(TcpStream, TcpStream)>>,
    accepted: AtomicUsize,
    flushes: AtomicUsize,
    round_trips: AtomicUsize,
    lost: AtomicUsize,
    refusing: AtomicBool,
    closed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stalled: bool,
    answers: Answers,
    /// How many answers are lost before they pass again; `None` for all.
    lose: Option<usize>,
}

impl Proxy {
    /// A proxy to `upstream` (`127.0.0.1:6379`) on a free port of 127.0.0.1.
    pub fn new(upstream: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            round_trips: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            refusing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve(&listener)
        });
        Self { shared, address }
    }

    /// `127.0.0.1:<port>`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `url` with the proxy in the place of its host and port.
    pub fn url(&self, url: &str) -> String {
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
        let host = url[host..end].rfind('@').map_or(host, |at| host + at + 1);
        format!("{}{}{}", &url[..host], self.address, &url[end..])
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many pieces of data clients have sent, as they arrived.
    pub fn flushes(&self) -> usize {
        self.shared.flushes.load(Ordering::SeqCst)
    }

    /// How often a client has sent something after the server had spoken last, or first of all: what
    /// a client that waits for each answer pays in latency.
    pub fn round_trips(&self) -> usize {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// How many answers were dropped.
    pub fn lost_answers(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Cuts all connections. New ones are taken.
    pub fn cut(&self) {
        for (client, server) in self.shared.connections().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Whether new connections are closed at once. Those that are open stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// What becomes of answers from now on.
    pub fn answers(&self, answers: Answers) {
        let mut state = self.shared.state();
        (state.answers, state.lose) = (answers, None);
    }

    /// Loses the next `count` answers, then lets them pass.
    pub fn lose_answers(&self, count: usize, how: Answers) {
        let mut state = self.shared.state();
        (state.answers, state.lose) = (how, Some(count));
    }

    /// Holds everything back in both directions, until [`resume`](Self::resume).
    pub fn stall(&self) {
        self.shared.state().stalled = true;
    }

    /// Lets what was held back flow.
    pub fn resume(&self) {
        self.shared.state().stalled = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        self.resume();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(TcpStream, TcpStream)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            if self.refusing.load(Ordering::SeqCst) {
                continue;
            }
            self.accepted.fetch_add(1, Ordering::SeqCst);
            // A server that is down closes the client's connection, like a refused one.
            let _ = self.join(client);
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(&self.upstream)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (client_out, server_out) = (client.try_clone()?, server.try_clone()?);
        self.connections().push((client.try_clone()?, server.try_clone()?));
        let server_spoke = Arc::new(AtomicBool::new(true));
        let (requests, answers) = (Arc::clone(self), Arc::clone(self));
        let spoke = Arc::clone(&server_spoke);
        thread::spawn(move || {
            pump(client, server_out, |_| {
                requests.flushes.fetch_add(1, Ordering::SeqCst);
                if spoke.swap(false, Ordering::SeqCst) {
                    requests.round_trips.fetch_add(1, Ordering::SeqCst);
                }
                requests.wait_while_stalled();
                Answers::Pass
            });
        });
        thread::spawn(move || {
            pump(server, client_out, |_| {
                server_spoke.store(true, Ordering::SeqCst);
                answers.wait_while_stalled();
                answers.fate()
            });
        });
        Ok(())
    }

    fn wait_while_stalled(&self) {
        let state = self.changed.wait_while(self.state(), |state| state.stalled);
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }

    fn fate(&self) -> Answers {
        let mut state = self.state();
        let fate = match &mut state.lose {
            Some(0) => Answers::Pass,
            Some(left) => {
                *left -= 1;
                state.answers
            }
            None => state.answers,
        };
        if fate != Answers::Pass {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        fate
    }
}

/// Moves data until either side ends, and then ends both.
fn pump(mut from: TcpStream, mut to: TcpStream, mut fate: impl FnMut(&[u8]) -> Answers) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        match fate(&buffer[..len]) {
            Answers::Pass if to.write_all(&buffer[..len]).is_ok() => {}
            Answers::Swallow => {}
            Answers::Pass | Answers::Cut => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
