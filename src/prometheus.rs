//! Prometheus' query API, and evidence from several servers.

use std::{collections::BTreeMap, time::Duration};

use futures::{
    StreamExt,
    future::{join, join_all},
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::model::{Answer, Asked, ClusterName, FleetEvidence, Question, Sample, Timestamp};

/// The largest answer that is read, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client cannot be made.
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    /// No connection, or it was lost.
    #[error("not reachable")]
    Transport(#[source] reqwest::Error),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than 16 MiB.
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// The answer is not what Prometheus says.
    #[error("answered {status}, and not as Prometheus does")]
    NotPrometheus {
        /// The HTTP status.
        status: u16,
    },
    /// The server refused the query.
    #[error("{kind}: {message}")]
    Query {
        /// Prometheus' `errorType`.
        kind: String,
        /// Its words.
        message: String,
    },
    /// The query gives no instant vector.
    #[error("the query gives a {0}, and not an instant vector")]
    NotAVector(String),
}

impl Error {
    /// Whether the same query may be answered later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Timeout => true,
            Self::NotPrometheus { status } => *status >= 500 || *status == 429,
            Self::Query { kind, .. } => {
                ["timeout", "canceled", "unavailable", "internal"].contains(&kind.as_str())
            }
            Self::Client(_) | Self::TooLarge | Self::NotAVector(_) => false,
        }
    }
}

/// One series of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// The value; may be NaN or infinite.
    pub value: f64,
    /// The time of the evaluation.
    pub at: Timestamp,
}

/// One server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<SecretString>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Reply {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType", default)]
    kind: String,
    #[serde(default)]
    error: String,
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
    value: (f64, String),
}

impl Client {
    /// A client for the server at `url`; `timeout` is for one query.
    ///
    /// # Errors
    /// When `ca` is not PEM.
    pub fn new(
        url: Url,
        timeout: Duration,
        token: Option<SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(timeout)
            .timeout(timeout)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = ca {
            for certificate in reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(Error::Client)? {
                http = http.add_root_certificate(certificate);
            }
        }
        Ok(Self { http: http.build().map_err(Error::Client)?, url, token, timeout })
    }

    /// The server's address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Evaluates `query` at `at`.
    ///
    /// # Errors
    /// When there is no instant vector to be had.
    pub async fn instant(&self, query: &str, at: Timestamp) -> Result<Vec<Series>, Error> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v1/query", url.path().trim_end_matches('/')));
        let time = format!("{}.{:03}", at.as_second(), at.subsec_millisecond());
        let timeout = format!("{}ms", self.timeout.as_millis());
        let mut request =
            self.http.post(url).form(&[("query", query), ("time", &time), ("timeout", &timeout)]);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let (status, body) = read(request).await?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|_| Error::NotPrometheus { status })?;
        let data = match (reply.status.as_str(), reply.data) {
            ("success", Some(data)) => data,
            ("error", _) => return Err(Error::Query { kind: reply.kind, message: reply.error }),
            _ => return Err(Error::NotPrometheus { status }),
        };
        if data.result_type != "vector" {
            return Err(Error::NotAVector(data.result_type));
        }
        let rows: Vec<Row> =
            serde_json::from_value(data.result).map_err(|_| Error::NotPrometheus { status })?;
        rows.into_iter()
            .map(|Row { metric, value: (at, value) }| {
                let value = value.parse().map_err(|_| Error::NotPrometheus { status })?;
                let at = timestamp(at).ok_or(Error::NotPrometheus { status })?;
                Ok(Series { labels: metric, value, at })
            })
            .collect()
    }

    /// The newest sample of `query` for each cluster. `timestamp(query)` is asked beside it, at the same instant: for a
    /// selector, such as a recorded series, it is the time of the sample; for any other expression it is the time of
    /// the evaluation, and the expression itself must see to freshness.
    async fn samples(&self, query: &str, at: Timestamp) -> Result<BTreeMap<ClusterName, Sample>, String> {
        let times = format!("timestamp({query})");
        let (values, times) = join(self.instant(query, at), self.instant(&times, at)).await;
        let (values, times) =
            (by_cluster(values.map_err(|e| words(&e))?)?, by_cluster(times.map_err(|e| words(&e))?)?);
        Ok(values
            .into_iter()
            .filter_map(|(cluster, value)| {
                let at = timestamp(*times.get(&cluster)?)?;
                Some((cluster, Sample { value, at }))
            })
            .collect())
    }
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() {
        return None;
    }
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

/// The error and its cause: these words become evidence that people read.
fn words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Error> {
    let failed =
        |error: reqwest::Error| if error.is_timeout() { Error::Timeout } else { Error::Transport(error) };
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(failed)?);
        if body.len() > MAX_BODY {
            return Err(Error::TooLarge);
        }
    }
    Ok((status, body))
}

/// One value per cluster. Series of clusters with names that no configuration can have are left out.
fn by_cluster(series: Vec<Series>) -> Result<BTreeMap<ClusterName, f64>, String> {
    let mut values = BTreeMap::new();
    for series in series {
        let Some(cluster) = series.labels.get("runner_cluster") else {
            return Err("a series has no label runner_cluster; aggregate by (runner_cluster)".to_owned());
        };
        let Ok(cluster) = cluster.parse::<ClusterName>() else { continue };
        if values.insert(cluster.clone(), series.value).is_some() {
            return Err(format!("two series for runner_cluster {cluster}; aggregate by (runner_cluster)"));
        }
    }
    Ok(values)
}

/// What is asked about one fleet.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// By question: an instant vector with one series per `runner_cluster`.
    pub questions: &'a BTreeMap<Question, String>,
    /// Series told by `system_id` and `runner_cluster`.
    pub managers: &'a str,
}

/// Every server; each is asked everything.
#[derive(Debug, Clone)]
pub struct Servers(pub Vec<Client>);

impl Servers {
    /// What all servers say about one fleet. Never fails: a server that does not answer says so in the evidence, and
    /// keeps nobody waiting beyond its own time-out.
    pub async fn evidence(&self, queries: Queries<'_>, now: Timestamp) -> FleetEvidence {
        let asked = queries.questions.iter().map(|(question, query)| async {
            let answers = self.0.iter().map(|client| async {
                let server = client.url().to_string();
                Answer { server, result: client.samples(query, now).await }
            });
            (*question, Asked { query: query.clone(), answers: join_all(answers).await })
        });
        let managers = join_all(self.0.iter().map(|client| client.instant(queries.managers, now)));
        let (asked, managers) = join(join_all(asked), managers).await;
        let mut evidence = FleetEvidence { asked: asked.into_iter().collect(), managers: BTreeMap::new() };
        for series in managers.into_iter().flatten().flatten() {
            let id = series.labels.get("system_id").filter(|id| !id.is_empty());
            let cluster = series.labels.get("runner_cluster").and_then(|c| c.parse::<ClusterName>().ok());
            if let (Some(id), Some(cluster)) = (id, cluster) {
                evidence.managers.entry(id.clone()).or_default().insert(cluster);
            }
        }
        evidence
    }
}
