//! One server, one query.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use crate::transport::{self, Transport};

/// Far above what a handful of clusters gives; far below what memory holds.
const LONGEST: usize = 16 << 20;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// Prometheus says no.
    #[error("{kind}: {message}")]
    Refused {
        /// The status code.
        status: u16,
        /// Prometheus' own word: `bad_data`, `execution`, `timeout`, …
        kind: String,
        /// Its explanation.
        message: String,
    },
    /// Something that is not Prometheus answered, such as a proxy.
    #[error("HTTP {status}, and not Prometheus' JSON: {excerpt}")]
    NotPrometheus {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// The query is an expression of another type.
    #[error("the query gives a {0}, not one number per series")]
    NotAVector(String),
    /// The answer is a vector of another form.
    #[error("a series cannot be read: {0}")]
    Form(String),
}

impl Error {
    /// Whether the same query may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_transient(),
            Self::Refused { status, kind, .. } => {
                matches!(kind.as_str(), "timeout" | "canceled" | "unavailable" | "internal")
                    || *status >= 500
                    || *status == 429
            }
            Self::NotPrometheus { status, .. } => *status >= 500 || *status == 429,
            Self::NotAVector(_) | Self::Form(_) => false,
        }
    }
}

/// One number with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// May be NaN or infinite.
    pub value: f64,
    /// The instant of the question, not of the sample.
    pub at: Timestamp,
}

/// The answer of an instant query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vector {
    /// The series, in the server's order.
    pub series: Vec<Series>,
    /// What Prometheus, or what stands in for it, warns of: the answer is incomplete, or not what was asked for.
    pub warnings: Vec<String>,
    /// What Prometheus remarks about the query.
    pub infos: Vec<String>,
}

/// One Prometheus server.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    clock_ahead: Mutex<Option<SignedDuration>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default, deserialize_with = "list")]
    warnings: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    infos: Vec<String>,
}

/// Go writes an empty list as null at times.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
}

impl Client {
    /// `timeout` holds for one query, here and in Prometheus. `token` is sent as Bearer token; `ca` is PEM text of
    /// authorities to trust beside the system's.
    ///
    /// # Errors
    /// When token or certificates cannot be used.
    pub fn new(
        url: &Url,
        timeout: Duration,
        token: Option<&SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(url, timeout, token, ca)?, clock_ahead: Mutex::default() })
    }

    /// Uses another token from the next request on. Says whether it is another one.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        Ok(self.transport.set_token(token)?)
    }

    /// The server's address as it is shown.
    pub fn name(&self) -> &str {
        self.transport.name()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.transport.timeout()
    }

    /// Asks `query` as of `at`.
    ///
    /// # Errors
    /// When there is no vector.
    pub async fn instant(&self, query: &str, at: Timestamp) -> Result<Vector, Error> {
        let form = [
            ("query", query.to_owned()),
            ("time", at.to_string()),
            ("timeout", format!("{}ms", self.timeout().as_millis())),
        ];
        // POST: a query may be longer than an address.
        let request = self.transport.client.post(self.transport.url("api/v1/query")).form(&form);
        let reply = self.transport.read(request, LONGEST).await?;
        *self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner) = reply.clock_ahead;
        read_vector(reply.status.as_u16(), &reply.body)
    }

    /// How far this machine's clock is ahead of the server's, by its last answer; asking forgets it.
    pub(super) fn clock_ahead(&self) -> Option<SignedDuration> {
        self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads the answer to an instant query.
///
/// # Errors
/// When it holds no vector.
pub fn read_vector(status: u16, body: &[u8]) -> Result<Vector, Error> {
    let Ok(parsed) = serde_json::from_slice::<Body>(body) else {
        return Err(Error::NotPrometheus { status, excerpt: transport::excerpt(body) });
    };
    let data = match parsed.data {
        Some(data) if parsed.status == "success" && (200..300).contains(&status) => data,
        _ => {
            return Err(Error::Refused {
                status,
                kind: parsed.error_type.unwrap_or_else(|| parsed.status.clone()),
                message: parsed.error.unwrap_or_else(|| "no explanation".to_owned()),
            });
        }
    };
    if data.result_type != "vector" {
        return Err(Error::NotAVector(data.result_type));
    }
    let rows: Vec<Row> =
        serde_json::from_value(data.result).map_err(|error| Error::Form(error.to_string()))?;
    // Before 2.54, Prometheus sends its remarks about a query among the warnings.
    let (remarks, warnings) = parsed.warnings.into_iter().partition(|text| text.starts_with("PromQL info:"));
    Ok(Vector {
        series: rows.into_iter().map(series).collect::<Result<_, _>>()?,
        warnings,
        infos: [parsed.infos, remarks].concat(),
    })
}

fn series(row: Row) -> Result<Series, Error> {
    let Some((at, value)) = row.value else {
        return Err(Error::Form("it has no plain value (a histogram?)".to_owned()));
    };
    Ok(Series {
        // NaN, +Inf and -Inf are among what is parsed.
        value: value.parse().map_err(|_| Error::Form(format!("the value {value:?} is not a number")))?,
        at: instant(at).ok_or_else(|| Error::Form(format!("the time {at} is out of range")))?,
        labels: row.metric,
    })
}

/// Prometheus' times are seconds with milliseconds.
pub(super) fn instant(seconds: f64) -> Option<Timestamp> {
    let milliseconds = (seconds * 1000.0).round();
    // Also keeps out NaN.
    (milliseconds.abs() < 1e15).then(|| Timestamp::from_millisecond(milliseconds as i64).ok())?
}
