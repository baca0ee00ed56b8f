//! The listener: connections with limits, TLS, users. What is served over it is an axum router; nothing in here knows
//! which.

mod connection;
mod listener;
mod security;
mod tls;
mod users;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use listener::{Listener, serve};
pub use security::Security;
pub use users::Login;

/// What one client may take from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long the head of a request, a TLS handshake, or a client that does not take its answer may last.
    pub slow: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 512, slow: Duration::from_secs(10), idle: Duration::from_mins(2) }
    }
}

/// Open files that are not connections of clients: the store, the log, and what the loop asks.
const RESERVED_FILES: u64 = 256;
/// However few files there may be.
const FEWEST_CONNECTIONS: usize = 16;

/// Asks the system for as many open files as it may give, and says how many connections fit beside all else.
pub fn connections_that_fit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let fit = current.map_or(usize::MAX, |files| {
        usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX)
    });
    fit.max(FEWEST_CONNECTIONS)
}
