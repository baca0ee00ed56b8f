//! The page that a role shows to Prometheus: a registry, in the format that the scraper asks for.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use axum::body::Bytes;
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use tokio::sync::Mutex;

use super::{classic, process};
use crate::model::Timestamp;

/// The content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of the classic text format.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry that is complete; clones share it. The default one is empty.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    registry: Registry,
    /// Counts who comes and what is written, in one row.
    order: AtomicU64,
    classic: Last,
    openmetrics: Last,
}

/// The page as last written, and its place in the order.
type Last = Mutex<Option<(u64, Bytes)>>;

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
        Self(Arc::new(Shown { registry, ..Shown::default() }))
    }

    /// All metrics: OpenMetrics when one of the `Accept` headers names it, else the classic text. The content type
    /// comes first.
    ///
    /// # Errors
    /// A label or a value that cannot be written.
    pub async fn show<'a>(
        &self,
        accept: impl IntoIterator<Item = &'a str>,
    ) -> Result<(&'static str, Bytes), fmt::Error> {
        let wants = |part: &str| part.contains("application/openmetrics-text");
        let openmetrics = accept.into_iter().flat_map(|v| v.split(',')).any(wants);
        let (kind, last) =
            if openmetrics { (OPENMETRICS, &self.0.openmetrics) } else { (CLASSIC, &self.0.classic) };
        // Whoever comes while the page is written shares the next one: however many ask, one page at a time is written and kept.
        let came = self.0.order.fetch_add(1, SeqCst);
        let mut last = last.lock().await;
        if let Some((_, page)) = last.as_ref().filter(|(began, _)| *began > came) {
            return Ok((kind, page.clone()));
        }
        let began = self.0.order.fetch_add(1, SeqCst);
        let page = Bytes::from(self.write(openmetrics)?);
        *last = Some((began, page.clone()));
        Ok((kind, page))
    }

    /// All metrics as they are now, in OpenMetrics or as the classic text.
    ///
    /// # Errors
    /// As of [`Self::show`].
    pub fn write(&self, openmetrics: bool) -> Result<String, fmt::Error> {
        let mut body = String::new();
        text::encode(&mut body, &self.0.registry)?;
        Ok(if openmetrics { body } else { classic::from_openmetrics(&body) })
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

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[tokio::test]
    async fn a_crowd_shares_a_page_and_nobody_gets_one_from_before_they_came() {
        let seen = Counter::<u64>::default();
        let page = Page::new(Timestamp::UNIX_EPOCH, |r| r.register("seen", "Seen", seen.clone()));
        let text = |shown: &Bytes| String::from_utf8(shown.to_vec()).unwrap();
        let writing = page.0.classic.lock().await;
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(page.show([]))).collect();
        for one in &mut crowd {
            assert!(futures::poll!(one.as_mut()).is_pending());
        }
        seen.inc();
        drop(writing);
        let pages = join_all(crowd).await.into_iter().map(|shown| shown.unwrap().1);
        let pages: Vec<Bytes> = pages.collect();
        assert!(pages.iter().all(|shown| shown.as_ptr() == pages[0].as_ptr()), "one is written for all");
        assert!(text(&pages[0]).contains("switchyard_seen_total 1"));
        seen.inc();
        assert!(text(&page.show([]).await.unwrap().1).contains("switchyard_seen_total 2"));
        let (kind, shown) = page.show(["application/openmetrics-text"]).await.unwrap();
        assert!(kind.starts_with("application/openmetrics-text") && text(&shown).ends_with("# EOF\n"));
    }
}
