//! The GitLab client on the wire: against the simulated GitLab, and against small servers that do what no GitLab
//! should.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod check;
mod in_flight;
mod read;
mod rest;
mod transport;
mod write;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use secrecy::SecretString;
use switchyard::{
    gitlab::{Client, Observer, RequestEvent, Scope, Settings, Wanted},
    model::{Runner, RunnerId, Tag},
};
use switchyard_lab::gitlab::{Admin, Config, RunnerSpec, Simulator, TokenSpec};

const SCOPES: [&str; 2] = ["read_api", "manage_runner"];

fn settings(url: &str, token: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        token: SecretString::from(token),
        scope: Scope::Instance,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(20),
        concurrency: 8,
        ca_pem: None,
    }
}

type Events = Arc<Mutex<Vec<RequestEvent>>>;

fn observer() -> (Observer, Events) {
    let events = Events::default();
    let sink = Arc::clone(&events);
    (Arc::new(move |event: &RequestEvent| sink.lock().unwrap().push(event.clone())), events)
}

/// A simulated GitLab and a client of it.
struct Bench {
    gitlab: Simulator,
    client: Client,
    events: Events,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default(), TokenSpec::admin("switchyard", &SCOPES), |_| {})
    }

    fn with(config: Config, token: TokenSpec, change: impl FnOnce(&mut Settings)) -> Self {
        let gitlab = Simulator::start(config);
        let token = gitlab.admin().create_token(token);
        let mut settings = settings(&gitlab.url(), &token);
        change(&mut settings);
        let (observer, events) = observer();
        let client = Client::new(settings, observer).unwrap();
        Self { gitlab, client, events }
    }

    /// Another client of the same GitLab.
    fn client(&self, token: TokenSpec, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = settings(&self.gitlab.url(), &self.admin().create_token(token));
        change(&mut settings);
        Client::new(settings, observer().0).unwrap()
    }

    fn admin(&self) -> &Admin {
        self.gitlab.admin()
    }

    fn runner(&self, description: &str, tags: &[&str]) -> RunnerId {
        RunnerId(self.admin().create_runner(RunnerSpec::new(description, tags)).id)
    }

    fn runners(&self, count: usize, tags: &[&str]) -> Vec<RunnerId> {
        (0..count).map(|n| self.runner(&format!("runner {n}"), tags)).collect()
    }

    fn codes(&self, operation: &str) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|e| e.operation == operation).map(|e| e.code.clone()).collect()
    }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn tagged(tags: &[&str]) -> Wanted {
    Wanted { tags: tags.iter().map(|t| tag(t)).collect(), ..Wanted::default() }
}

fn by_id(ids: impl IntoIterator<Item = RunnerId>) -> Wanted {
    Wanted { ids: ids.into_iter().collect(), ..Wanted::default() }
}

fn everything() -> Wanted {
    Wanted { all: true, ..Wanted::default() }
}

fn ids(runners: &[Runner]) -> Vec<RunnerId> {
    runners.iter().map(|r| r.id).collect()
}

fn tag_set(tags: &[&str]) -> BTreeSet<Tag> {
    tags.iter().map(|t| tag(t)).collect()
}
