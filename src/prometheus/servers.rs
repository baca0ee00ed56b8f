//! Every server, every question.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::{join, join_all};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::{sync::Semaphore, time::Instant};
use url::Url;

use super::client::{Client, Error, Series, Vector, instant};
use crate::{
    config::Queries,
    model::{Answer, Asked, ClusterName, Evidence, FleetEvidence, FleetName, Question, Sample},
    transport::{chain, seconds},
};

/// Somebody else's text, in characters.
const LONGEST_WARNING: usize = 200;

/// All Prometheus servers.
#[derive(Debug)]
pub struct Servers {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    client: Client,
    permits: Semaphore,
}

/// One query of a pass.
enum Ask<'a> {
    Question(&'a FleetName, Question, &'a str),
    Managers(&'a FleetName, &'a str),
}

/// What came of it.
enum Told<'a> {
    Question(&'a FleetName, Question, Result<BTreeMap<ClusterName, Sample>, String>),
    Managers(&'a FleetName, BTreeMap<String, BTreeSet<ClusterName>>),
}

impl Servers {
    /// One client per address. `timeout` holds for everything that one server is asked in one pass; `concurrency` is
    /// the number of queries in flight at once, per server.
    ///
    /// # Errors
    /// When token or certificates cannot be used.
    pub fn new(
        urls: &[Url],
        timeout: Duration,
        concurrency: usize,
        token: Option<&SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        let server = |url| {
            let client = Client::new(url, timeout, token, ca)?;
            Ok(Server { client, permits: Semaphore::new(concurrency.max(1)) })
        };
        Ok(Self { servers: urls.iter().map(server).collect::<Result<_, Error>>()? })
    }

    /// Shows every server another token from the next request on. Says whether it is another one.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        self.clients().try_fold(false, |other, client| Ok(client.set_token(token)? || other))
    }

    /// The clients, one per server.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.servers.iter().map(|server| &server.client)
    }

    /// Asks everything about all fleets as of `at`. Takes no longer than the time-out: what a server has not answered
    /// by then is answered with that.
    pub async fn evidence(&self, queries: &BTreeMap<FleetName, Queries>, at: Timestamp) -> Evidence {
        let told = join_all(self.servers.iter().map(|server| server.tell(queries, at))).await;

        let mut fleets: BTreeMap<FleetName, FleetEvidence> = queries
            .iter()
            .map(|(fleet, queries)| {
                let asked = queries
                    .questions
                    .iter()
                    .map(|(question, query)| (*question, Asked { query: query.clone(), answers: Vec::new() }))
                    .collect();
                (fleet.clone(), FleetEvidence { asked, managers: BTreeMap::new() })
            })
            .collect();
        for (server, told) in self.servers.iter().zip(told) {
            for told in told {
                match told {
                    Told::Question(fleet, question, result) => {
                        let asked = fleets.get_mut(fleet).and_then(|f| f.asked.get_mut(&question));
                        if let Some(asked) = asked {
                            asked.answers.push(Answer { server: server.client.name().to_owned(), result });
                        }
                    }
                    Told::Managers(fleet, managers) => {
                        if let Some(evidence) = fleets.get_mut(fleet) {
                            for (system_id, clusters) in managers {
                                evidence.managers.entry(system_id).or_default().extend(clusters);
                            }
                        }
                    }
                }
            }
        }
        let clocks = self.clients().filter_map(|c| Some((c.name().to_owned(), c.clock_ahead()?))).collect();
        Evidence { fleets, clocks }
    }
}

impl Server {
    async fn tell<'a>(&self, queries: &'a BTreeMap<FleetName, Queries>, at: Timestamp) -> Vec<Told<'a>> {
        let deadline = Instant::now() + self.client.timeout();
        let asks = queries.iter().flat_map(|(fleet, queries)| {
            let questions =
                queries.questions.iter().map(move |(q, text)| Ask::Question(fleet, *q, text.as_str()));
            questions.chain([Ask::Managers(fleet, &queries.managers)])
        });
        join_all(asks.map(|ask| self.answer(ask, at, deadline))).await
    }

    async fn answer<'a>(&self, ask: Ask<'a>, at: Timestamp, deadline: Instant) -> Told<'a> {
        match ask {
            Ask::Question(fleet, question, query) => {
                // The line break keeps a comment at the end of the query from swallowing the bracket.
                let stamps = format!("timestamp({query}\n)");
                let (values, stamps) =
                    join(self.instant(query, at, deadline), self.instant(&stamps, at, deadline)).await;
                let result =
                    values.and_then(whole).and_then(|values| samples(values, stamps.and_then(whole)?));
                Told::Question(fleet, question, result)
            }
            Ask::Managers(fleet, query) => {
                let managers = match self.instant(query, at, deadline).await {
                    // What is there counts: it can only find more clusters that share a token.
                    Ok(vector) => managers(vector.series),
                    Err(why) => {
                        let server = self.client.name();
                        tracing::debug!(%fleet, server, why, "the runner managers are not known");
                        BTreeMap::new()
                    }
                };
                Told::Managers(fleet, managers)
            }
        }
    }

    /// One query, its place in the queue included.
    async fn instant(&self, query: &str, at: Timestamp, deadline: Instant) -> Result<Vector, String> {
        let ask = async {
            // The semaphore is never closed, so that there is always a permit to come.
            let _permit = self.permits.acquire().await;
            self.client.instant(query, at).await
        };
        match tokio::time::timeout_at(deadline, ask).await {
            Ok(answer) => answer.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {}", seconds(self.client.timeout()))),
        }
    }
}

/// The series of an answer, unless a part may be missing: of several clusters behind one Thanos, the one whose store is
/// out of reach looks like one without runners.
fn whole(vector: Vector) -> Result<Vec<Series>, String> {
    if vector.warnings.is_empty() {
        return Ok(vector.series);
    }
    let warnings: Vec<String> =
        vector.warnings.iter().map(|text| text.chars().take(LONGEST_WARNING).collect()).collect();
    Err(format!("answered with a warning, so that a part may be missing: {}", warnings.join("; ")))
}

/// One sample per cluster, as old as its time stamp says. A cluster without one (it came or went between the two
/// queries) is left out, which is "no data".
fn samples(values: Vec<Series>, stamps: Vec<Series>) -> Result<BTreeMap<ClusterName, Sample>, String> {
    let values = by_cluster(values)?;
    let stamps = by_cluster(stamps)?;
    values
        .into_iter()
        .filter_map(|(cluster, value)| stamps.get(&cluster).map(|stamp| (cluster, value, *stamp)))
        .map(|(cluster, value, stamp)| match instant(stamp) {
            Some(at) => Ok((cluster, Sample { value, at })),
            None => Err(format!("the time stamp {stamp} of {cluster} is out of range")),
        })
        .collect()
}

fn by_cluster(series: Vec<Series>) -> Result<BTreeMap<ClusterName, f64>, String> {
    let mut clusters = BTreeMap::new();
    for series in series {
        let Some(label) = series.labels.get("runner_cluster") else {
            return Err(format!("a series has no label runner_cluster: {:?}", series.labels));
        };
        let cluster: ClusterName = label.parse().map_err(|error| format!("label runner_cluster: {error}"))?;
        if clusters.insert(cluster, series.value).is_some() {
            return Err(format!("two series for the cluster {label}: aggregate by (runner_cluster)"));
        }
    }
    Ok(clusters)
}

fn managers(series: Vec<Series>) -> BTreeMap<String, BTreeSet<ClusterName>> {
    let mut managers: BTreeMap<String, BTreeSet<ClusterName>> = BTreeMap::new();
    for series in series {
        let cluster = series.labels.get("runner_cluster").and_then(|label| label.parse().ok());
        if let (Some(system_id), Some(cluster)) = (series.labels.get("system_id"), cluster) {
            managers.entry(system_id.clone()).or_default().insert(cluster);
        }
    }
    managers
}
