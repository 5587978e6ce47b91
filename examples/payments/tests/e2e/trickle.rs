//! Clients that go on paying, whatever happens to the service.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    client::{Answer, Call, NoAnswer},
    server::{PATIENCE, Server},
};

const CLIENTS: usize = 8;
/// More than a pool has connections.
const CROWD: usize = 32;

/// Each client pays under one key after the other: it sends the same until it is paid, and asks once
/// more. Whatever else it is told must say when to come back.
pub(crate) struct Trickle {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    address: watch::Receiver<SocketAddr>,
    /// A process that is killed gives no answer, and may be away for a while.
    may_be_killed: bool,
    stop: AtomicBool,
    paid: Mutex<HashMap<String, Bytes>>,
    refused: AtomicUsize,
}

impl Trickle {
    pub(crate) fn to(server: &Server) -> Self {
        let (_, address) = watch::channel(server.address());
        Self::start(CLIENTS, address, false)
    }

    pub(crate) fn of_many_to(server: &Server) -> Self {
        let (_, address) = watch::channel(server.address());
        Self::start(CROWD, address, false)
    }

    /// To whichever address is the present one.
    pub(crate) fn to_mortals(address: watch::Receiver<SocketAddr>) -> Self {
        Self::start(CLIENTS, address, true)
    }

    fn start(clients: usize, address: watch::Receiver<SocketAddr>, may_be_killed: bool) -> Self {
        let shared = Arc::new(Shared {
            address,
            may_be_killed,
            stop: AtomicBool::new(false),
            paid: Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let clients = (0..clients).map(|client| Arc::clone(&shared).client(client)).collect();
        Self { clients, shared }
    }

    /// Waits until as many payments more were made.
    pub(crate) async fn goes_on(&mut self, payments: usize) {
        let enough = self.shared.paid() + payments;
        let until = Instant::now() + PATIENCE;
        while self.shared.paid() < enough {
            // A client that saw what it may not see has ended with a panic.
            if let Some(ended) = self.clients.try_join_next() {
                ended.unwrap();
            }
            let refused = self.refused();
            assert!(Instant::now() < until, "no payments any more; {refused} were refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often a client was told to come back.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until one more was.
    pub(crate) async fn is_refused(&mut self) {
        let (refused, until) = (self.refused(), Instant::now() + PATIENCE);
        while self.refused() == refused {
            assert!(Instant::now() < until, "nobody is refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets each client have its last payment, and counts: one payment for each key, and one answer.
    pub(crate) async fn ends_with_one_payment_for_each_key(mut self, server: &Server) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        };
        timeout(PATIENCE, ended).await.expect("a client is never paid");
        let paid = std::mem::take(&mut *self.shared.paid.lock().unwrap());
        assert_eq!(server.count().await, paid.len() as u64);
        for (key, body) in paid {
            let replay = server.pay(&key).answer().await;
            assert!(replay.is_replay(), "{replay:?}");
            assert_eq!(replay.body, body);
        }
    }
}

impl Shared {
    fn paid(&self) -> usize {
        self.paid.lock().unwrap().len()
    }

    async fn client(self: Arc<Self>, client: usize) {
        for payment in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("{client}-{payment}");
            let first = self.until_paid(&key).await;
            let again = self.until_paid(&key).await;
            assert_eq!(first, again, "{key} got two answers");
            self.paid.lock().unwrap().insert(key, first);
        }
    }

    async fn until_paid(&self, key: &str) -> Bytes {
        let until = Instant::now() + PATIENCE;
        loop {
            let address = *self.address.borrow();
            let pay = Call::new(address, "POST", "/payments").key(key);
            let pay = pay.json(r#"{"amount": 1000, "currency": "USD"}"#);
            match pay.send().result().await {
                Ok(answer) if answer.status == 201 => return answer.body,
                Ok(answer) => answer.says_when_to_come_back(),
                Err(NoAnswer) => assert!(self.may_be_killed, "{key} got no answer"),
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < until, "{key} is never paid");
            // Sooner than it was told to, so that there is always something to go wrong.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Answer {
    #[track_caller]
    fn says_when_to_come_back(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert!(self.header("retry-after").is_some(), "{self:?}");
    }
}
