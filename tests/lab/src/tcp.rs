//! A way between a client and a server that a test can close: for new connections, for all, or open and silent. With
//! datagrams, too.

use std::net::SocketAddr;

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

/// A TCP relay. Dropping it ends all connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
    tasks: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Listens on a free port and hands every connection on to `to`.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let address = ports::free_address()?;
        let listener = TcpListener::bind(address).await?;
        let (way, seen) = watch::channel(Way::Open);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, to, seen.clone()));
            }
        });
        Ok(Self { address, way, tasks: vec![accepting] })
    }

    /// As [`start`](Self::start), and hands on every datagram that comes to the same port while the way is open. Answers
    /// to datagrams find their own way.
    pub async fn with_datagrams(to: SocketAddr) -> Result<Self> {
        let mut relay = Self::start(to).await?;
        let socket = UdpSocket::bind(relay.address).await?;
        let way = relay.way.subscribe();
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
        self.way.send_replace(Way::Closed);
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Keeps every connection open and passes nothing on, like a firewall that drops packets.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Lets new connections through. What was cut or silent is ended: a lost byte never comes again.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.way.send_replace(Way::Cut);
    }
}

async fn relay(client: TcpStream, to: SocketAddr, way: watch::Receiver<Way>) {
    let now = *way.borrow();
    match now {
        Way::Open => {}
        Way::Closed => return,
        Way::Cut | Way::Silent => return ended(way).await,
    }
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(client_in, server_out, way.clone()) => {}
        () = copy(server_in, client_out, way.clone()) => {}
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

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        // Neither bytes nor an end pass a silent way.
        if *way.borrow() == Way::Silent {
            return std::future::pending().await;
        }
        let Ok(read @ 1..) = read else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
