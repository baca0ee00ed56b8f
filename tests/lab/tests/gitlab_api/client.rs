//! A bare HTTP client: the tests look at what is on the wire.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use switchyard_lab::gitlab::{Config, Owner, Role, RunnerSpec, Simulator, TokenSpec};

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    pub(crate) token: String,
}

/// A simulator and an administrator with the two scopes that Switchyard asks for.
pub(crate) fn start() -> (Simulator, Client) {
    let gitlab = Simulator::start(Config::default());
    let token = gitlab.admin().create_token(TokenSpec::admin("switchyard", &["read_api", "manage_runner"]));
    let client = Client::new(&gitlab, &token);
    (gitlab, client)
}

/// Runners at every level, as the owner of the upper group sees them.
pub(crate) struct Levels {
    pub(crate) client: Client,
    /// `acme/rnd/app`.
    pub(crate) project: u64,
    /// Of the instance, of the group `acme`, of `acme/rnd` below it, and of the project.
    pub(crate) runners: [u64; 4],
    pub(crate) gitlab: Simulator,
}

pub(crate) fn levels() -> Levels {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let (top, sub) = (admin.create_group("acme"), admin.create_group("acme/rnd"));
    let project = admin.create_project("acme/rnd/app");
    let of = |owner| admin.create_runner(RunnerSpec::new("r", &["a"]).owned_by(owner)).id;
    let owners = [Owner::Instance, Owner::Group(top), Owner::Group(sub), Owner::Projects(vec![project])];
    let owner = TokenSpec::user("owner", &["read_api"]).in_group(top, Role::Owner);
    let client = Client::new(&gitlab, &admin.create_token(owner));
    Levels { client, project, runners: owners.map(of), gitlab }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

impl Client {
    pub(crate) fn new(gitlab: &Simulator, token: &str) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), url: gitlab.url(), token: token.to_owned() }
    }

    pub(crate) async fn try_send(
        &self,
        method: &str,
        url: String,
        kind: &str,
        body: &str,
    ) -> Result<Answer, reqwest::Error> {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, url).header("PRIVATE-TOKEN", &self.token);
        let answer = request.header("content-type", kind).body(body.to_owned()).send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, text: answer.text().await? })
    }

    pub(crate) async fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let url = format!("{}/api/v4{path}", self.url);
        self.try_send(method, url, kind, body).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "application/json", "").await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, "application/json", &body.to_string()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string()).await
    }

    pub(crate) async fn lab(&self, path: &str) -> Answer {
        let url = format!("{}/-/lab{path}", self.url);
        self.try_send("GET", url, "application/json", "").await.expect("an answer")
    }

    pub(crate) async fn lab_post(&self, path: &str, body: Value) -> Answer {
        let url = format!("{}/-/lab{path}", self.url);
        self.try_send("POST", url, "application/json", &body.to_string()).await.expect("an answer")
    }

    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> Answer {
        self.graphql_body(json!({ "query": query, "variables": variables })).await
    }

    pub(crate) async fn graphql_body(&self, body: Value) -> Answer {
        let url = format!("{}/api/graphql", self.url);
        self.try_send("POST", url, "application/json", &body.to_string()).await.expect("an answer")
    }

    pub(crate) async fn ids(&self, path: &str) -> Vec<u64> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json().as_array().expect("rows").iter().filter_map(|r| r["id"].as_u64()).collect()
    }
}
