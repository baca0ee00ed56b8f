//! Reading records over GraphQL: a hundred per request, with tags and managers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, Error, Scope, Wanted, tags, unique};
use crate::model::{Manager, Runner, RunnerId, Tag};

const LIST: &str = "graphql_list_runners";
const BY_ID: &str = "graphql_get_runners";
const FIELDS: &str = "id tagList paused contactedAt description managers{nodes{systemId contactedAt}}";
/// So many managers come with a record; behind a full page there may be more.
const MANAGERS: usize = 100;
/// How long a refusal is remembered.
const REFUSED_FOR: Duration = Duration::from_mins(5);

/// Why a read over GraphQL did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// GraphQL does not serve this query; REST may.
    Refused(String),
    /// The query costs more than GitLab allows, however small.
    TooComplex(String),
    /// Neither will serve it now.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.status() {
            // 401, 429, 5xx, a time-out and a redirect would be the same over REST.
            Some(400 | 403 | 404 | 405 | 406 | 410 | 413 | 414 | 415 | 422) => Self::Refused(error.chain()),
            _ => Self::Error(error),
        }
    }
}

/// How much may be asked at once, learnt from what GitLab says each query cost.
#[derive(Debug)]
pub(super) struct Budget {
    page: Size,
    batch: Size,
    refused: Mutex<Option<(Instant, String)>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            page: Size { now: AtomicUsize::new(100), max: 100 },
            // Each alias pays for its own managers.
            batch: Size { now: AtomicUsize::new(8), max: 50 },
            refused: Mutex::default(),
        }
    }
}

impl Budget {
    pub(super) fn refuse(&self, why: String) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now() + REFUSED_FOR, why));
    }

    pub(super) fn refused(&self) -> Option<String> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref().is_some_and(|(until, _)| *until <= Instant::now()) {
            *refused = None;
        }
        refused.as_ref().map(|(_, why)| why.clone())
    }
}

#[derive(Debug)]
struct Size {
    now: AtomicUsize,
    max: usize,
}

impl Size {
    fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// So many more cost at most so much more: what does not grow with the number is paid once.
    fn learn(&self, used: usize, cost: Option<Complexity>) {
        if let Some(Complexity { score, limit }) = cost
            && (1..=limit).contains(&score)
        {
            let more = (used * limit / score).min(self.max);
            let _ = self.now.compare_exchange(used, more, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// False when it cannot be less.
    fn halve(&self, used: usize) -> bool {
        self.now.fetch_min((used / 2).max(1), Ordering::Relaxed);
        used > 1
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Complexity {
    score: usize,
    limit: usize,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    data: Option<Map<String, Value>>,
    #[serde(default)]
    errors: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    path: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    nodes: Vec<Node>,
    page_info: PageInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    #[serde(default)]
    end_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    #[serde(default)]
    description: Option<String>,
    tag_list: Option<Vec<String>>,
    paused: bool,
    contacted_at: Option<Timestamp>,
    managers: Option<Managers>,
}

#[derive(Debug, Default, Deserialize)]
struct Managers {
    nodes: Vec<ManagerNode>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagerNode {
    system_id: String,
    contacted_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Container {
    runners: Option<Connection>,
}

impl Client {
    pub(super) async fn runners_over_graphql(&self, wanted: &Wanted) -> Result<Vec<Runner>, Failure> {
        let lists = try_join_all(wanted.lists().into_iter().map(|tag| self.list(tag)));
        let ids: Vec<RunnerId> = wanted.ids.iter().copied().collect();
        let (lists, by_id) = try_join(lists, self.by_id(&ids)).await?;
        Ok(unique(wanted, lists.into_iter().flatten().chain(by_id)))
    }

    /// All records with a tag. The pages of a list can only be read one after another.
    async fn list(&self, tag: Option<&Tag>) -> Result<Vec<Runner>, Failure> {
        let mut runners = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let size = self.graphql.page.get();
            let Some(page) = self.page(tag, after.as_deref(), size).await? else { continue };
            for node in page.nodes {
                runners.push(self.runner(node).await?);
            }
            let PageInfo { has_next_page, end_cursor } = page.page_info;
            if !has_next_page {
                return Ok(runners);
            }
            if end_cursor.is_none() || end_cursor == after {
                let why = "GitLab announces a next page and does not say where".to_owned();
                return Err(Error::Incomplete { operation: LIST, why }.into());
            }
            after = end_cursor;
        }
    }

    /// One page; none when it was too large, and the next one will be smaller.
    async fn page(
        &self,
        tag: Option<&Tag>,
        after: Option<&str>,
        size: usize,
    ) -> Result<Option<Connection>, Failure> {
        let runners = format!(
            "runners(first:$first,after:$after{}{}){{nodes{{{FIELDS}}} pageInfo{{hasNextPage endCursor}}}}",
            if tag.is_some() { ",tagList:$tags" } else { "" },
            if matches!(self.scope, Scope::Group(_)) { ",membership:ALL_AVAILABLE" } else { "" },
        );
        let (path, root) = match &self.scope {
            Scope::Instance => (None, runners),
            Scope::Group(path) => (Some(path), format!("scope:group(fullPath:$path){{{runners}}}")),
            Scope::Project(path) => (Some(path), format!("scope:project(fullPath:$path){{{runners}}}")),
        };
        let query = format!(
            "query($first:Int,$after:String{}{}){{queryComplexity{{score limit}} {root}}}",
            if tag.is_some() { ",$tags:[String!]" } else { "" },
            if path.is_some() { ",$path:ID!" } else { "" },
        );
        let mut variables = json!({ "first": size, "after": after });
        if let Some(tag) = tag {
            variables["tags"] = json!([tag]);
        }
        if let Some(path) = path {
            variables["path"] = json!(path);
        }

        let Envelope { data, errors } = match self.ask(LIST, &query, variables).await {
            Err(Failure::TooComplex(_)) if self.graphql.page.halve(size) => return Ok(None),
            other => other?,
        };
        if !errors.is_empty() {
            return Err(judge(LIST, &errors));
        }
        let mut data = data.unwrap_or_default();
        self.graphql.page.learn(size, complexity(&data));
        let connection = if path.is_none() {
            shape(LIST, data.remove("runners").unwrap_or_default())?
        } else {
            shape::<Option<Container>>(LIST, data.remove("scope").unwrap_or_default())?
                .ok_or_else(|| Error::Scope(self.scope.to_string()))?
                .runners
        };
        connection
            .map(Some)
            .ok_or_else(|| Failure::Refused(format!("no runners of {} for this token", self.scope)))
    }

    async fn by_id(&self, ids: &[RunnerId]) -> Result<Vec<Runner>, Failure> {
        let mut runners = Vec::new();
        let mut rest = ids;
        while !rest.is_empty() {
            let size = self.graphql.batch.get();
            let (batch, later) = rest.split_at(size.min(rest.len()));
            if let Some(batch) = self.batch(batch, size).await? {
                runners.extend(batch);
                rest = later;
            }
        }
        Ok(runners)
    }

    /// The records of some ids; none when these were too many, and the next batch will be smaller.
    async fn batch(&self, ids: &[RunnerId], size: usize) -> Result<Option<Vec<Runner>>, Failure> {
        let (mut head, mut aliases, mut variables) = (String::new(), String::new(), Map::new());
        for (n, id) in ids.iter().enumerate() {
            let _ = write!(head, "{}$i{n}:CiRunnerID!", if n == 0 { "" } else { "," });
            let _ = write!(aliases, " r{n}:runner(id:$i{n}){{...F}}");
            variables.insert(format!("i{n}"), json!(format!("gid://gitlab/Ci::Runner/{id}")));
        }
        let query = format!(
            "query({head}){{queryComplexity{{score limit}}{aliases}}} fragment F on CiRunner{{{FIELDS}}}"
        );
        let Envelope { data, errors } = match self.ask(BY_ID, &query, Value::Object(variables)).await {
            Err(Failure::TooComplex(_)) if self.graphql.batch.halve(ids.len()) => {
                return Ok(None);
            }
            other => other?,
        };
        let mut data: BTreeMap<String, Value> = data.unwrap_or_default().into_iter().collect();
        // A record that is not there, or not for this token, is an error with the alias as its path.
        let (_absent, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| {
            let alias = error.path.first().and_then(Value::as_str).and_then(|alias| data.get(alias));
            alias.is_some_and(Value::is_null)
                && error.message.contains("does not exist or you don't have permission")
        });
        if !errors.is_empty() {
            return Err(judge(BY_ID, &errors));
        }
        if ids.len() == size {
            let cost = data.get("queryComplexity").cloned();
            self.graphql.batch.learn(size, cost.and_then(|cost| serde_json::from_value(cost).ok()));
        }
        let mut runners = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let Some(value) = data.remove(&format!("r{n}")) else {
                let why = format!("nothing about runner {id}");
                return Err(Error::Incomplete { operation: BY_ID, why }.into());
            };
            if let Some(node) = shape::<Option<Node>>(BY_ID, value)? {
                runners.push(self.runner(node).await?);
            }
        }
        Ok(Some(runners))
    }

    async fn runner(&self, node: Node) -> Result<Runner, Failure> {
        let full = node.managers.as_ref().is_some_and(|managers| managers.nodes.len() >= MANAGERS);
        let mut runner = record(node)?;
        if full {
            // REST gives them all at once.
            runner.managers = self.managers(runner.id).await?.unwrap_or_default();
        }
        Ok(runner)
    }

    async fn ask(&self, operation: &'static str, query: &str, variables: Value) -> Result<Envelope, Failure> {
        let body = json!({ "query": query, "variables": variables });
        let reply = self.http.send_json(operation, Method::POST, &["graphql"], &body, None).await?;
        let envelope: Envelope = reply.json()?;
        match envelope.errors.iter().find(|e| e.path.is_empty() && e.message.contains("complexity")) {
            Some(error) => Err(Failure::TooComplex(error.message.clone())),
            None if envelope.data.is_none() => Err(judge(operation, &envelope.errors)),
            None => Ok(envelope),
        }
    }

    /// Whether GraphQL answers at all: the complexity limit for this token.
    pub(super) async fn probe_graphql(&self) -> Result<Option<usize>, Failure> {
        let query = "query{queryComplexity{score limit}}";
        let envelope = self.ask("graphql_probe", query, json!({})).await?;
        Ok(complexity(&envelope.data.unwrap_or_default()).map(|c| c.limit))
    }

    /// Whether the records of the scope can be listed over GraphQL.
    pub(super) async fn probe_list(&self) -> Result<(), Failure> {
        self.page(None, None, 1).await.map(drop)
    }
}

/// The record, with those of its managers that came along.
fn record(node: Node) -> Result<Runner, Error> {
    let id = node.id.rsplit('/').next().and_then(|id| id.parse().ok()).map(RunnerId).ok_or_else(|| {
        Error::Incomplete { operation: LIST, why: format!("{:?} is not a runner id", node.id) }
    })?;
    let manager = |m: ManagerNode| Manager { system_id: m.system_id, contacted_at: m.contacted_at };
    Ok(Runner {
        id,
        description: node.description.unwrap_or_default(),
        tags: tags(&node.tag_list.unwrap_or_default()),
        paused: node.paused,
        contacted_at: node.contacted_at,
        managers: node.managers.unwrap_or_default().nodes.into_iter().map(manager).collect(),
    })
}

/// Reads one page of GraphQL's list of all records.
///
/// # Errors
/// When it is not such a page, or holds an error.
pub fn read_page(body: &[u8]) -> Result<Vec<Runner>, Error> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|source| Error::Shape { operation: LIST, source })?;
    if !envelope.errors.is_empty() {
        return Err(match judge(LIST, &envelope.errors) {
            Failure::Error(error) => error,
            Failure::Refused(message) | Failure::TooComplex(message) => {
                Error::Graphql { operation: LIST, message }
            }
        });
    }
    let runners = envelope.data.unwrap_or_default().remove("runners").unwrap_or_default();
    let page: Connection =
        serde_json::from_value(runners).map_err(|source| Error::Shape { operation: LIST, source })?;
    page.nodes.into_iter().map(record).collect()
}

fn complexity(data: &Map<String, Value>) -> Option<Complexity> {
    serde_json::from_value(data.get("queryComplexity")?.clone()).ok()
}

fn shape<T: serde::de::DeserializeOwned>(operation: &'static str, value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|source| Error::Shape { operation, source }.into())
}

/// Errors inside an answer. Trouble of the moment would meet REST as well.
fn judge(operation: &'static str, errors: &[Refusal]) -> Failure {
    let message = match errors {
        [] => "no data".to_owned(),
        [first, ..] => super::error::excerpt(&first.message, 300),
    };
    let lower = message.to_lowercase();
    let momentary = ["timeout", "timed out", "internal server error", "try again", "no data"];
    if momentary.iter().any(|word| lower.contains(word)) {
        Failure::Error(Error::Graphql { operation, message })
    } else {
        Failure::Refused(message)
    }
}
