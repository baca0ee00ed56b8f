//! Free ports on 127.0.0.1.
//!
//! A port from `bind(0)` can be taken as the source of somebody's outgoing connection before its server binds it.
//! These lie below the range that the kernel hands out, and a locked file keeps other test processes off.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Mutex,
};

use anyhow::{Context as _, Result, bail};

const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;

/// The locks live as long as this process: a server may be stopped and started again on its port.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on, TCP and UDP, and that is this process's until it ends.
pub fn free() -> Result<u16> {
    let dir =
        std::env::temp_dir().join(format!("switchyard-lab-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let start = RandomState::new().hash_one(std::process::id());
    for step in 0..u64::from(COUNT) {
        // The remainder is below COUNT, so the sum fits.
        let port = FIRST + u16::try_from((start.wrapping_add(step)) % u64::from(COUNT))?;
        let path = dir.join(port.to_string());
        let Ok(file) = File::options().create(true).truncate(false).write(true).open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        let address = address(port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            TAKEN.lock().map_err(|_| anyhow::anyhow!("the list of ports is poisoned"))?.push(file);
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} on")
}

/// The port on 127.0.0.1.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A free address on 127.0.0.1.
pub fn free_address() -> Result<SocketAddr> {
    free().map(address)
}
