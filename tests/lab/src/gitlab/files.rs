//! Files of a project's repository, one commit per write.
//!
//! `last_commit_id` is not a compare-and-set on equality. GitLab compares the last commit that touched the file on the
//! branch with the last one as of the commit given: any commit since the last change will do, a write of the same
//! content is no change, and an id that GitLab does not know is never refused. `DELETE` and `POST` ignore it.

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::Role;
use super::lookup::WRITE;
use super::reply::{Answer, Failure, Params, ok, reply};
use super::server::{Call, Shared};
use super::state::State;

const READ: [&str; 3] = ["api", "read_api", "read_repository"];
pub(super) const DEFAULT_BRANCH: &str = "main";
const CHANGED: &str = "You are attempting to update a file that has changed since you started editing it.";

pub(super) fn router() -> Router<Shared> {
    let file = get(read).post(create).put(update).delete(delete);
    Router::new().route("/api/v4/projects/{id}/repository/files/{path}", file)
}

/// What a commit did to one file; `None` is its end.
#[derive(Debug, Clone)]
struct Change {
    path: String,
    content: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Commit {
    id: String,
    /// A write of what was there already changes nothing.
    change: Option<Change>,
}

/// A line of commits, oldest first.
#[derive(Debug, Clone)]
struct Branch {
    name: String,
    commits: Vec<Commit>,
}

/// The branches of one project.
#[derive(Debug)]
pub(crate) struct Repository {
    branches: Vec<Branch>,
}

impl Default for Repository {
    fn default() -> Self {
        let mut main = Branch { name: DEFAULT_BRANCH.to_owned(), commits: Vec::new() };
        main.commit("README.md", Some(b"# A project\n".to_vec()));
        Self { branches: vec![main] }
    }
}

/// The last commit that touched the path.
fn last_for_path<'a>(commits: &'a [Commit], path: &str) -> Option<(&'a str, Option<&'a [u8]>)> {
    commits.iter().rev().find_map(|commit| {
        let change = commit.change.as_ref().filter(|c| c.path == path)?;
        Some((commit.id.as_str(), change.content.as_deref()))
    })
}

impl Branch {
    fn content(&self, path: &str) -> Option<&[u8]> {
        last_for_path(&self.commits, path)?.1
    }

    fn commit(&mut self, path: &str, content: Option<Vec<u8>>) -> String {
        let id = format!("{:016x}{:016x}{:08x}", fastrand::u64(..), fastrand::u64(..), fastrand::u32(..));
        let same = self.content(path) == content.as_deref();
        let change = (!same).then(|| Change { path: path.to_owned(), content });
        self.commits.push(Commit { id: id.clone(), change });
        id
    }
}

impl Repository {
    fn branch(&mut self, name: &str) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|b| b.name == name)
    }

    /// The commits up to a branch's tip, `HEAD`, or a commit of any branch.
    fn up_to(&self, reference: &str) -> Option<&[Commit]> {
        let name = if reference == "HEAD" { DEFAULT_BRANCH } else { reference };
        self.branches.iter().find(|b| b.name == name).map(|b| b.commits.as_slice()).or_else(|| {
            self.branches.iter().find_map(|branch| {
                let end = branch.commits.iter().position(|c| c.id == reference)?;
                branch.commits.get(..=end)
            })
        })
    }

    fn has_changed(&self, branch: &str, path: &str, since: &str) -> bool {
        let last = |reference| last_for_path(self.up_to(reference)?, path).map(|(id, _)| id);
        last(branch).zip(last(since)).is_some_and(|(now, then)| now != then)
    }

    /// Somebody else's write to the default branch; returns the commit's id.
    pub(super) fn write(&mut self, path: &str, content: Option<&[u8]>) -> Option<String> {
        Some(self.branch(DEFAULT_BRANCH)?.commit(path, content.map(<[u8]>::to_vec)))
    }

    /// A file at the tip of the default branch.
    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        last_for_path(self.up_to(DEFAULT_BRANCH)?, path)?.1.map(<[u8]>::to_vec)
    }
}

fn refused(text: &str) -> Failure {
    Failure::message(StatusCode::BAD_REQUEST, text)
}

/// What GitLab says when another write moved the branch between the check and the commit.
pub(super) fn lost_race(branch: &str) -> Response {
    refused(&format!("Could not update refs/heads/{branch}. Please refresh and try again.")).into_response()
}

/// As Grape checks parameters that must not be blank.
fn required<const N: usize>(params: &Params, keys: [&str; N]) -> Result<[String; N], Failure> {
    let values = keys.map(|key| params.text(key).filter(|text| !text.is_empty()));
    let missing = |(key, value): (&&str, &Option<String>)| {
        let why = if params.has(key) { "" } else { &format!("{key} is missing, ") };
        value.is_none().then(|| format!("{why}{key} is empty"))
    };
    let problems: Vec<String> = keys.iter().zip(&values).filter_map(missing).collect();
    if !problems.is_empty() {
        return Err(Failure::grape(&problems.join(", ")));
    }
    Ok(values.map(Option::unwrap_or_default))
}

/// Also `HEAD`: the same headers without the body.
async fn read(
    AxumState(shared): AxumState<Shared>,
    Path((id, path)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Reporter)?;
    let [reference] = required(&call.params()?, ["ref"])?;
    let repository = state.repositories.entry(project).or_default();
    let commits = repository.up_to(&reference).ok_or_else(|| Failure::not_found("Commit"))?;
    let (last, content) = last_for_path(commits, &path)
        .and_then(|(id, content)| Some((id, content?)))
        .ok_or_else(|| Failure::not_found("File"))?;
    let sha256 = format!("{:x}", Sha256::digest(content));
    let mut body = json!({
        "file_name": path.rsplit('/').next(),
        "file_path": path,
        "size": content.len(),
        "encoding": "base64",
        "content_sha256": sha256,
        "ref": reference,
        "blob_id": sha256.get(..40),
        "commit_id": commits.last().map(|c| c.id.as_str()),
        "last_commit_id": last,
        "execute_filemode": false,
    });
    let headers = headers(&body);
    body["content"] = Value::String(STANDARD.encode(content));
    let mut response = reply(StatusCode::OK, &body);
    response.headers_mut().extend(headers);
    Ok(response)
}

/// `last_commit_id` becomes `X-Gitlab-Last-Commit-Id`, and so on.
fn headers(body: &Value) -> Vec<(HeaderName, HeaderValue)> {
    let one = |(key, value): (&String, &Value)| {
        let name = format!("x-gitlab-{}", key.replace('_', "-")).parse().ok()?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((name, text.parse().ok()?))
    };
    body.as_object().into_iter().flatten().filter_map(one).collect()
}

/// What all three writes have in common, in GitLab's order of checks.
fn write(
    state: &mut State,
    call: &Call,
    (id, path): (String, String),
    check: impl Fn(&Repository, &Params, &str) -> Result<Option<Vec<u8>>, Failure>,
) -> Result<Value, Failure> {
    let project = call.project(state, &id, &WRITE, Role::Developer)?;
    let params = call.params()?;
    let [name, _message] = required(&params, ["branch", "commit_message"])?;
    let start = params.text("start_branch").unwrap_or_else(|| name.clone());
    let protected = state.projects.get(&project).is_some_and(|p| p.protected_refs.contains(&name));
    let maintains = call.token(state)?.has_role(state, project, Role::Maintainer);
    if protected && !maintains {
        return Err(refused("You are not allowed to push into this branch"));
    }
    let repository = state.repositories.entry(project).or_default();
    let Some(origin) = repository.branch(&start).cloned() else {
        return Err(refused("You can only create or edit files when you are on a branch"));
    };
    if name != start && repository.branch(&name).is_some() {
        return Err(refused(&format!(
            "A branch called '{name}' already exists. Switch to that branch in order to make changes"
        )));
    }
    let content = check(repository, &params, &start)?;
    if name != start {
        repository.branches.push(Branch { name: name.clone(), ..origin });
    }
    if let Some(branch) = repository.branch(&name) {
        branch.commit(&path, content);
    }
    Ok(json!({ "file_path": path, "branch": name }))
}

fn exists(repository: &Repository, branch: &str, path: &str) -> bool {
    repository.up_to(branch).and_then(|commits| last_for_path(commits, path)?.1).is_some()
}

fn content(params: &Params) -> Result<Option<Vec<u8>>, Failure> {
    let text = params.text("content").ok_or_else(|| Failure::grape("content is missing"))?;
    let base64 = params.one_of("encoding", &["base64", "text"])?.is_some_and(|e| e == "base64");
    // Ruby's decoder never refuses anything; what it makes of nonsense is not of interest.
    Ok(Some(if base64 { STANDARD.decode(text).unwrap_or_default() } else { text.into_bytes() }))
}

async fn create(
    AxumState(shared): AxumState<Shared>,
    Path(at): Path<(String, String)>,
    call: Call,
) -> Answer {
    let path = at.1.clone();
    let body = write(&mut shared.lock(), &call, at, |repository, params, branch| {
        let content = content(params)?;
        if exists(repository, branch, &path) {
            return Err(refused("A file with this name already exists"));
        }
        Ok(content)
    })?;
    Ok(reply(StatusCode::CREATED, &body))
}

async fn update(
    AxumState(shared): AxumState<Shared>,
    Path(at): Path<(String, String)>,
    call: Call,
) -> Answer {
    let path = at.1.clone();
    let body = write(&mut shared.lock(), &call, at, |repository, params, branch| {
        let content = content(params)?;
        let since = params.text("last_commit_id");
        if since.is_some_and(|since| repository.has_changed(branch, &path, &since)) {
            return Err(refused(CHANGED));
        }
        if !exists(repository, branch, &path) {
            return Err(refused("A file with this name doesn't exist"));
        }
        Ok(content)
    })?;
    ok(&body)
}

async fn delete(
    AxumState(shared): AxumState<Shared>,
    Path(at): Path<(String, String)>,
    call: Call,
) -> Answer {
    let path = at.1.clone();
    write(&mut shared.lock(), &call, at, |repository, _, branch| {
        if !exists(repository, branch, &path) {
            return Err(refused("A file with this name doesn't exist"));
        }
        Ok(None)
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
