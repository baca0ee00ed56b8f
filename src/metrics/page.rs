//! The page that a role shows to Prometheus: a registry, in the format that the scraper asks for.

use std::sync::Arc;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::{classic, process};
use crate::model::Timestamp;

/// The content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of the classic text format.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry that is complete; clones share it. The default one is empty.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<Registry>);

impl Page {
    /// What every role shows (the process, the build), and what `register` adds below the prefix `switchyard_`.
    pub fn new(start: Timestamp, register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        // Without our prefix: every Prometheus client names these alike.
        registry.register_collector(Box::new(process::Process::new(start)));
        let ours = registry.sub_registry_with_prefix("switchyard");
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", option_env!("SWITCHYARD_REVISION").unwrap_or("unknown")),
        ]);
        ours.register("build", "The program's version and source revision", build);
        register(ours);
        Self(Arc::new(registry))
    }

    /// All metrics: OpenMetrics when one of the `Accept` headers names it, else the classic text. The content type
    /// comes first.
    ///
    /// # Errors
    /// A label or a value that cannot be written.
    pub fn show<'a>(
        &self,
        accept: impl IntoIterator<Item = &'a str>,
    ) -> Result<(&'static str, String), std::fmt::Error> {
        let mut body = String::new();
        text::encode(&mut body, &self.0)?;
        let wants = |part: &str| part.contains("application/openmetrics-text");
        if accept.into_iter().flat_map(|v| v.split(',')).any(wants) {
            Ok((OPENMETRICS, body))
        } else {
            Ok((CLASSIC, classic::from_openmetrics(&body)))
        }
    }
}

/// The labels of one sample.
pub type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes one gauge family from a collector, if it has any sample.
///
/// # Errors
/// A label or a value that cannot be written.
pub fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: impl Iterator<Item = (Labels<'a>, f64)>,
) -> Result<(), std::fmt::Error> {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in samples {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Seconds since 1970, as metrics want them.
pub fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
