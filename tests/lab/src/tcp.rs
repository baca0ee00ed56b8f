//! A way between a client and a server that a test can close: for new connections, for all, or open and silent; or in the
//! very moment in which a PostgreSQL commits. With datagrams, too.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::ports;

/// How a transaction ends, as clients of PostgreSQL say it.
const COMMIT: &[u8] = b"COMMIT\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections that are there go on, and new ones are ended at once.
    Closed,
    /// Connections are ended, new ones too.
    Cut,
    /// Connections stay, and nothing passes any more.
    Silent,
}

/// One commit that somebody never hears of.
#[derive(Debug, Clone)]
pub struct Snare {
    /// What the server says, as a notice, in the transaction that is meant.
    pub word: String,
    /// Which of the times that it says so, from 1 on.
    pub nth: usize,
    /// What gets lost.
    pub lost: Lost,
    /// What becomes of the way.
    pub then: Then,
}

/// What gets lost of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The client's COMMIT: the server does not write, and the client does not know.
    Request,
    /// The server's answer: it has written, and the client does not know.
    Answer,
}

/// What becomes of the way when the commit is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// That one connection ends. All else goes on.
    End,
    /// Nothing passes any more, on any connection.
    Silence,
}

/// A TCP relay. Dropping it ends all connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    way: watch::Sender<Way>,
    snare: Mutex<Option<Snare>>,
    sprung: watch::Sender<u64>,
}

impl Relay {
    /// Listens on a free port and hands every connection on to `to`.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let address = ports::free_address()?;
        let listener = TcpListener::bind(address).await?;
        let (way, sprung) = (watch::Sender::new(Way::Open), watch::Sender::new(0));
        let shared = Arc::new(Shared { to, way, snare: Mutex::new(None), sprung });
        let of_clients = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, of_clients.clone()));
            }
        });
        Ok(Self { address, shared, tasks: vec![accepting] })
    }

    /// As [`start`](Self::start), and hands on every datagram that comes to the same port while the way is open. Answers
    /// to datagrams find their own way.
    pub async fn with_datagrams(to: SocketAddr) -> Result<Self> {
        let mut relay = Self::start(to).await?;
        let socket = UdpSocket::bind(relay.address).await?;
        let way = relay.shared.way.subscribe();
        relay.tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
                let open = *way.borrow() == Way::Open;
                if open {
                    let _ = socket.send_to(&buffer[..length], to).await;
                }
            }
        }));
        Ok(relay)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every new connection at once, and leaves those that are there.
    pub fn close(&self) {
        self.shared.way.send_replace(Way::Closed);
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        self.shared.way.send_replace(Way::Cut);
    }

    /// Keeps every connection open and passes nothing on, like a firewall that drops packets.
    pub fn silence(&self) {
        self.shared.way.send_replace(Way::Silent);
    }

    /// Lets new connections through. What was cut or silent is ended: a lost byte never comes again.
    pub fn mend(&self) {
        self.shared.way.send_replace(Way::Open);
    }

    /// Lays a snare, in place of one that was not sprung, and gives its number, for those who wait until it was sprung.
    pub fn lay(&self, snare: Snare) -> Sprung {
        let sprung = self.shared.sprung.subscribe();
        let before = *sprung.borrow();
        *self.shared.snare() = Some(snare);
        Sprung { sprung, before }
    }
}

/// A snare that was laid.
#[derive(Debug)]
pub struct Sprung {
    sprung: watch::Receiver<u64>,
    before: u64,
}

impl Sprung {
    /// Waits until the commit is lost.
    pub async fn wait(&mut self) {
        let before = self.before;
        // The sender lives as long as the relay; without it nothing is lost any more.
        if self.sprung.wait_for(|sprung| *sprung > before).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.cut();
    }
}

impl Shared {
    fn snare(&self) -> MutexGuard<'_, Option<Snare>> {
        self.snare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what the server said; the snare is taken when it is the word that it waits for.
    fn heard(&self, times: impl Fn(&str) -> usize) -> Option<Snare> {
        let mut snare = self.snare();
        let waits = snare.as_mut()?;
        waits.nth = waits.nth.saturating_sub(times(&waits.word));
        if waits.nth == 0 { snare.take() } else { None }
    }

    fn spring(&self, then: Then) {
        if then == Then::Silence {
            self.way.send_replace(Way::Silent);
        }
        self.sprung.send_modify(|sprung| *sprung += 1);
    }
}

/// The transaction of a connection whose commit is to be lost.
#[derive(Debug, Default)]
struct Doomed(Mutex<Option<(Snare, bool)>>);

impl Doomed {
    fn set(&self, snare: Option<(Snare, bool)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snare;
    }

    /// The snare, and whether the COMMIT has passed.
    fn get(&self) -> Option<(Snare, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let way = shared.way.subscribe();
    let now = *way.borrow();
    match now {
        Way::Open => {}
        Way::Closed => return,
        Way::Cut | Way::Silent => return ended(way).await,
    }
    let Ok(server) = TcpStream::connect(shared.to).await else { return };
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    let doomed = Doomed::default();
    let asked = |bytes: &Seen<'_>| match doomed.get() {
        Some((snare, false)) if bytes.times(COMMIT) > 0 => {
            if snare.lost == Lost::Request {
                return Some(snare.then);
            }
            doomed.set(Some((snare, true)));
            None
        }
        _ => None,
    };
    let answered = |bytes: &Seen<'_>| match doomed.get() {
        // The server says one thing after a COMMIT: that it is done.
        Some((snare, true)) => Some(snare.then),
        Some(_) => None,
        None => {
            if let Some(snare) = shared.heard(|word| bytes.times(word.as_bytes())) {
                doomed.set(Some((snare, false)));
            }
            None
        }
    };
    tokio::select! {
        () = copy(client_in, server_out, &shared, asked) => {}
        () = copy(server_in, client_out, &shared, answered) => {}
        () = ended(way) => {}
    }
}

/// Waits until a connection has to end: at once when the way is cut, later when a silent way is mended.
async fn ended(mut way: watch::Receiver<Way>) {
    let Ok(now) = way.wait_for(|way| matches!(way, Way::Cut | Way::Silent)).await.map(|way| *way) else {
        return;
    };
    if now == Way::Silent {
        let _ = way.wait_for(|way| *way != Way::Silent).await;
    }
}

/// What has just come, with the end of what came before: a word may come in two pieces.
struct Seen<'a> {
    all: &'a [u8],
    before: usize,
}

impl Seen<'_> {
    /// How often the word ends in what has just come.
    fn times(&self, word: &[u8]) -> usize {
        let ends = self.all.windows(word.len()).enumerate().filter(|(at, _)| at + word.len() > self.before);
        ends.filter(|(_, window)| *window == word).count()
    }
}

/// Hands on what comes until there is nothing more, or until `lost` says that this is not to arrive.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    lost: impl Fn(&Seen<'_>) -> Option<Then>,
) {
    const KEPT: usize = 256;
    let mut buffer = vec![0; 64 * 1024];
    let mut before = 0;
    loop {
        let read = from.read(&mut buffer[before..]).await;
        // Neither bytes nor an end pass a silent way.
        if *shared.way.borrow() == Way::Silent {
            return std::future::pending().await;
        }
        let Ok(read @ 1..) = read else { return };
        let all = before + read;
        if let Some(then) = lost(&Seen { all: &buffer[..all], before }) {
            shared.spring(then);
            return if then == Then::Silence {
                std::future::pending().await
            };
        }
        if to.write_all(&buffer[before..all]).await.is_err() {
            return;
        }
        let kept = all.min(KEPT);
        buffer.copy_within(all - kept..all, 0);
        before = kept;
    }
}
