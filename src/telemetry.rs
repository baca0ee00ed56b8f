//! Tracing set-up: one line per event, to standard error.

use std::{fmt, str::FromStr};

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look: the flag `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(value: &str) -> Result<Self, String> {
        match value {
            "logfmt" => Ok(Self::Logfmt),
            "json" => Ok(Self::Json),
            _ => Err(format!("{value:?} is neither logfmt nor json")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        })
    }
}

/// Installs the log for the whole process. A second call changes nothing.
///
/// # Errors
/// When `level` is no filter such as `info` or `info,switchyard=debug`.
pub fn init(level: &str, format: Format) -> Result<(), tracing_subscriber::filter::ParseError> {
    // They say every failed request, which their callers say once, with the reason; a later directive wins.
    let filter = EnvFilter::builder().parse(format!("kube_client=off,kube_runtime=off,{level}"))?;
    let layer = match format {
        Format::Logfmt => tracing_logfmt::builder().layer().with_writer(std::io::stderr).boxed(),
        Format::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Ok(())
}
