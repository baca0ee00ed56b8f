//! The client that fixtures and tests talk HTTP with.

use std::{sync::OnceLock, time::Duration};

/// One client for all: short timeouts, because everything is on this machine.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // A second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy();
        // Idle connections would outlive the runtime of the test that made them.
        builder.pool_max_idle_per_host(0).build().unwrap_or_default()
    })
}
