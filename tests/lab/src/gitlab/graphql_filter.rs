//! What a connection of runners is asked for: filters, order, one page forward or backward.

use std::sync::Arc;

use async_graphql::Error;

use super::graphql_scalars::UserID;
use super::graphql_types::{CiRunnerConnection, SortArg, StatusArg, TypeArg};
use super::model::Runner;
use super::rest::{has_version, matches_status};
use super::state::{Lag, State};

const MAX_PAGE: usize = 100;

/// The arguments.
#[derive(Default)]
pub(super) struct Filter {
    pub(super) status: Option<StatusArg>,
    pub(super) paused: Option<bool>,
    pub(super) kind: Option<TypeArg>,
    pub(super) tags: Vec<String>,
    pub(super) search: Option<String>,
    pub(super) version: Option<String>,
    pub(super) creator: Option<UserID>,
    pub(super) sort: Option<SortArg>,
    pub(super) first: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i32>,
    pub(super) before: Option<String>,
}

impl Filter {
    pub(super) fn page(
        &self,
        state: &State,
        lag: Lag,
        scope: impl Fn(&Runner) -> bool,
    ) -> Result<CiRunnerConnection, Error> {
        if self.first.is_some() && self.last.is_some() {
            return Err(Error::new("Can only provide either `first` or `last`, not both"));
        }
        let now = state.now();
        let mut rows: Vec<Arc<Runner>> = state
            .replica(lag)
            .into_values()
            .filter(|r| scope(r))
            .filter(|r| self.kind.is_none_or(|k| k.as_str() == r.owner.runner_type()))
            .filter(|r| self.paused.is_none_or(|p| p == r.paused))
            .filter(|r| self.status.is_none_or(|s| matches_status(r, s.as_str(), r.db_status(now))))
            .filter(|r| self.tags.iter().all(|t| r.tags.contains(t)))
            .filter(|r| self.version.as_deref().is_none_or(|v| has_version(r, v)))
            .filter(|r| self.creator.is_none_or(|id| r.created_by.as_ref().is_some_and(|c| c.id == id.0)))
            .filter(|r| self.search.as_deref().is_none_or(|s| r.token == s || r.description.contains(s)))
            .collect();
        match self.sort.unwrap_or(SortArg::CreatedDesc) {
            SortArg::CreatedAsc => {}
            SortArg::CreatedDesc => rows.reverse(),
            SortArg::ContactedAsc => rows.sort_by_key(|r| r.contact.db_contacted_at),
            SortArg::ContactedDesc => rows.sort_by_key(|r| std::cmp::Reverse(r.contact.db_contacted_at)),
        }
        let count = rows.len();
        let start = self.after.as_deref().map_or(0, |cursor| position(&rows, cursor, true));
        let end = self.before.as_deref().map_or(count, |cursor| position(&rows, cursor, false)).max(start);
        let wanted = self.first.or(self.last).and_then(|n| usize::try_from(n).ok());
        let wanted = wanted.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        // A cursor stands for a row on its side, whether there is one or not; else only the way of paging looks ahead.
        let (begin, stop, previous, next) = if self.last.is_some() {
            let begin = end.saturating_sub(wanted).max(start);
            (begin, end, begin > start, false)
        } else {
            let stop = end.min(start + wanted);
            (start, stop, false, stop < end)
        };
        let page = rows.get(begin..stop).unwrap_or_default().to_vec();
        let (previous, next) = (previous || self.after.is_some(), next || self.before.is_some());
        Ok(CiRunnerConnection::new(page, count, previous, next))
    }
}

/// Opaque to clients.
pub(super) fn cursor(runner: &Runner) -> String {
    format!("eyJpZCI6{:x}", runner.id)
}

/// Where the row of the cursor is, or where it ends when it is to be left `behind`.
fn position(rows: &[Arc<Runner>], cursor_text: &str, behind: bool) -> usize {
    let position = rows.iter().position(|r| cursor(r) == cursor_text);
    position.map(|p| p + usize::from(behind)).unwrap_or_else(|| {
        // The row of the cursor is gone: go on from where it was.
        let id =
            cursor_text.strip_prefix("eyJpZCI6").and_then(|x| u64::from_str_radix(x, 16).ok()).unwrap_or(0);
        let descending = rows.first().zip(rows.last()).is_some_and(|(a, b)| a.id > b.id);
        rows.iter().take_while(|r| if descending { r.id > id } else { r.id < id }).count()
    })
}
