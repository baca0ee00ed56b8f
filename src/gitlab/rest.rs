//! Reading records over REST: lists say who there is, one request per record says the rest.

use std::{collections::BTreeSet, sync::PoisonError};

use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Client, Error, Reply, Scope, Wanted, tags, unique};
use crate::model::{Manager, Runner, RunnerId, Tag};

pub(super) const LIST: &str = "list_runners";
pub(super) const READ: &str = "get_runner";
const PAGE: usize = 100;
/// How often a list is read anew when it changed meanwhile.
const TRIES: usize = 3;

/// A row of a list. It has no tags, and its `status` hides whether a paused runner lives.
#[derive(Debug, Deserialize)]
struct Row {
    id: RunnerId,
}

/// One record.
#[derive(Debug, Deserialize)]
pub(super) struct Detail {
    id: RunnerId,
    #[serde(default)]
    description: Option<String>,
    pub(super) paused: bool,
    pub(super) tag_list: Vec<String>,
    pub(super) run_untagged: bool,
    #[serde(default)]
    contacted_at: Option<Timestamp>,
}

impl Detail {
    fn runner(self, managers: Vec<Manager>) -> Runner {
        Runner {
            id: self.id,
            description: self.description.unwrap_or_default(),
            tags: tags(&self.tag_list),
            paused: self.paused,
            contacted_at: self.contacted_at,
            managers,
        }
    }
}

/// Reads REST's answer about one record, which has no managers in it.
///
/// # Errors
/// When it is not such an answer.
pub fn read_runner(body: &[u8]) -> Result<Runner, Error> {
    let detail: Detail =
        serde_json::from_slice(body).map_err(|source| Error::Shape { operation: READ, source })?;
    Ok(detail.runner(Vec::new()))
}

#[derive(Debug, Deserialize)]
struct ManagerRow {
    system_id: String,
    #[serde(default)]
    contacted_at: Option<Timestamp>,
}

struct Page {
    ids: Vec<RunnerId>,
    total: Option<u64>,
    pages: Option<u64>,
    next: Option<u64>,
}

impl Client {
    pub(super) async fn runners_over_rest(&self, wanted: &Wanted) -> Result<Vec<Runner>, Error> {
        let lists = try_join_all(wanted.lists().into_iter().map(|tag| self.list_ids(tag))).await?;
        let listed = lists.into_iter().flatten();
        let ids = self.sighted.lock().unwrap_or_else(PoisonError::into_inner).to_ask(
            &self.scope,
            wanted,
            listed,
        )?;
        let runners = try_join_all(ids.into_iter().map(|id| self.whole_runner(id))).await?;
        Ok(unique(wanted, runners.into_iter().flatten()))
    }

    async fn list_ids(&self, tag: Option<&Tag>) -> Result<BTreeSet<RunnerId>, Error> {
        for _ in 0..TRIES {
            if let Some(ids) = self.try_list_ids(tag).await? {
                return Ok(ids);
            }
            tracing::debug!(?tag, "the list changed while it was read");
        }
        Err(Error::Incomplete { operation: LIST, why: "it changes faster than it can be read".to_owned() })
    }

    /// The ids of a list, or none when it changed under the reader: a record that leaves a page lets the next one
    /// slip to a page that was already read.
    async fn try_list_ids(&self, tag: Option<&Tag>) -> Result<Option<BTreeSet<RunnerId>>, Error> {
        let first = self.list_page(tag, 1).await?;
        let Some((pages, total)) = first.pages.zip(first.total) else {
            // GitLab counts no list over 10,000 rows.
            return self.list_uncounted(tag, first).await.map(Some);
        };
        let others = try_join_all((2..=pages).map(|page| self.list_page(tag, page))).await?;
        if others.iter().any(|page| page.total != Some(total)) {
            return Ok(None);
        }
        let ids: BTreeSet<RunnerId> =
            first.ids.into_iter().chain(others.into_iter().flat_map(|page| page.ids)).collect();
        Ok((ids.len() as u64 == total).then_some(ids))
    }

    async fn list_uncounted(&self, tag: Option<&Tag>, first: Page) -> Result<BTreeSet<RunnerId>, Error> {
        let mut ids = BTreeSet::new();
        let (mut page, mut number) = (first, 1);
        loop {
            let full = page.ids.len() >= PAGE;
            ids.extend(page.ids);
            number = match page.next {
                Some(next) if next > number => next,
                _ if full => number + 1,
                _ => return Ok(ids),
            };
            page = self.list_page(tag, number).await?;
        }
    }

    async fn list_page(&self, tag: Option<&Tag>, page: u64) -> Result<Page, Error> {
        let segments = match &self.scope {
            Scope::Instance => vec!["v4", "runners", "all"],
            Scope::Group(path) => vec!["v4", "groups", path, "runners"],
            Scope::Project(path) => vec!["v4", "projects", path, "runners"],
        };
        let (page, per_page) = (page.to_string(), PAGE.to_string());
        let mut query = vec![("per_page", per_page.as_str()), ("page", page.as_str())];
        if let Some(tag) = tag {
            query.push(("tag_list", tag.as_str()));
        }
        let reply = self.http.get(LIST, &segments, &query).await.map_err(|error| {
            if error.says_not_found("group") || error.says_not_found("project") {
                Error::Scope(self.scope.to_string())
            } else {
                error
            }
        })?;
        let rows: Vec<Row> = reply.json()?;
        Ok(Page {
            ids: rows.into_iter().map(|row| row.id).collect(),
            total: reply.number("x-total"),
            pages: reply.number("x-total-pages"),
            next: reply.number("x-next-page"),
        })
    }

    /// Whether the records of the scope can be listed over REST.
    pub(super) async fn probe_rest(&self) -> Result<(), Error> {
        self.list_page(None, 1).await.map(drop)
    }

    /// One record with its managers; none when it is gone.
    async fn whole_runner(&self, id: RunnerId) -> Result<Option<Runner>, Error> {
        let detail = async {
            match self.detail(id).await {
                Err(error) if error.says_not_found("runner") => Ok(None),
                other => other.map(Some),
            }
        };
        let (Some(detail), Some(managers)) = try_join(detail, self.managers(id)).await? else {
            tracing::debug!(runner = id.0, "the runner is gone");
            return Ok(None);
        };
        Ok(Some(detail.runner(managers)))
    }

    async fn detail(&self, id: RunnerId) -> Result<Detail, Error> {
        self.record(id).await?.json()
    }

    pub(super) async fn record(&self, id: RunnerId) -> Result<Reply, Error> {
        // The projects of a runner can be thousands.
        let query = [("include_projects", "false")];
        self.http.get(READ, &["v4", "runners", &id.to_string()], &query).await
    }

    /// All managers of a record, in one answer; none when the record is gone.
    pub(super) async fn managers(&self, id: RunnerId) -> Result<Option<Vec<Manager>>, Error> {
        let segments = ["v4", "runners", &id.to_string(), "managers"];
        let rows: Vec<ManagerRow> = match self.http.get("list_runner_managers", &segments, &[]).await {
            Err(error) if error.says_not_found("runner") => return Ok(None),
            other => other?.json()?,
        };
        let manager = |row: ManagerRow| Manager { system_id: row.system_id, contacted_at: row.contacted_at };
        Ok(Some(rows.into_iter().map(manager).collect()))
    }
}
