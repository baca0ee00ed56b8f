//! A way to the DNS server on which updates can be held.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};

const UPDATE: u8 = 5;

#[derive(Debug, Default)]
struct State {
    hold: AtomicBool,
    held: AtomicUsize,
}

/// Listens by UDP and TCP until the test's runtime ends.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let udp = Arc::new(UdpSocket::bind(address).await?);
        let state = Arc::new(State::default());
        let of_tcp = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = tcp.accept().await {
                tokio::spawn(exchange(client, server, of_tcp.clone()));
            }
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_535];
            while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
                tokio::spawn(ask(udp.clone(), client, buffer[..length].to_vec(), server));
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether updates get no further than here. Those that are held are never sent on.
    pub(crate) fn hold(&self, hold: bool) {
        self.state.hold.store(hold, Ordering::SeqCst);
        self.state.held.store(0, Ordering::SeqCst);
    }

    /// How many updates are held.
    pub(crate) fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }
}

async fn ask(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    question: Vec<u8>,
    server: SocketAddr,
) -> Result<()> {
    let upstream = UdpSocket::bind("127.0.0.1:0").await?;
    upstream.connect(server).await?;
    upstream.send(&question).await?;
    let mut answer = vec![0; 65_535];
    let length = upstream.recv(&mut answer).await?;
    socket.send_to(&answer[..length], client).await?;
    Ok(())
}

/// Message by message, each with its length before it.
async fn exchange(mut client: TcpStream, server: SocketAddr, state: Arc<State>) -> Result<()> {
    let mut upstream = TcpStream::connect(server).await?;
    loop {
        let message = read(&mut client).await?;
        let opcode = message.get(4).map(|flags| (flags >> 3) & 0xf);
        if opcode == Some(UPDATE) && state.hold.load(Ordering::SeqCst) {
            state.held.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        upstream.write_all(&message).await?;
        client.write_all(&read(&mut upstream).await?).await?;
    }
}

async fn read(from: &mut TcpStream) -> Result<Vec<u8>> {
    let length = from.read_u16().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(2 + usize::from(length), 0);
    from.read_exact(&mut message[2..]).await?;
    Ok(message)
}
