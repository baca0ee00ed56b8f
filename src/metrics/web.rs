//! What happens at the listener.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Reason;

/// Metrics of one listener.
#[derive(Debug, Clone, Default)]
pub struct WebMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that have ended, by why.
    pub connections_closed: Family<Reason, Counter>,
    /// Connections that the system did not give.
    pub accept_errors: Counter,
    /// Whether the web file was good when it was last read.
    pub config_good: Gauge,
}

impl WebMetrics {
    /// Counts a connection that has ended.
    pub fn closed(&self, reason: &'static str) {
        self.connections_closed.get_or_create_owned(&Reason { reason: reason.to_owned() }).inc();
    }

    /// Adds them to a registry.
    pub fn register(&self, r: &mut Registry) {
        r.register("web_connections", "Open connections of clients", self.connections.clone());
        r.register(
            "web_connections_closed",
            "Connections that have ended, by why",
            self.connections_closed.clone(),
        );
        r.register(
            "web_accept_errors",
            "Connections that the system did not give, such as for too many open files",
            self.accept_errors.clone(),
        );
        r.register(
            "web_config_last_reload_successful",
            "Whether the web file was good when it was last read",
            self.config_good.clone(),
        );
    }
}
