//! The commands that talk to a running Switchyard.

use std::{path::Path, time::Duration};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Ack, Answer, Command, Exit, Failback, History, OutputFormat, Pause, Planned, Read, Remote, Resume,
    Switch, Watch, Which, Why, complain, load, remark, say, say_json, show, watch,
};
use crate::{config::WebClient, model::one_line};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Less than all, so that a server that is not there is told from one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked who holds a fleet, when it moves while somebody pauses it.
const TRIES: u32 = 5;
/// What is said of a move that is no longer followed.
const GOES_ON: &str = "what was asked for may go on all the same: `switchyard watch FLEET` follows it again, `switchyard history` tells of it";

/// A running Switchyard.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<SecretString>,
    user: Option<(String, SecretString)>,
    output: OutputFormat,
}

/// Why a command ended without an answer.
pub(super) enum Failure {
    Usage(String),
    Failed(String),
    /// Nobody could answer, which may pass: no connection, or an error of the server or of what stands before it.
    Away {
        text: String,
        problem: Option<Value>,
        /// What was sent may have come in.
        sent: bool,
    },
    /// What was asked for may be done all the same, or a move that goes on, or may, can no longer be followed.
    Lost {
        text: String,
        problem: Option<Value>,
    },
    /// The problem document of a refusal; held when a gate holds it.
    Refused {
        held: bool,
        text: String,
        problem: Value,
    },
}

impl Failure {
    /// What a failure to ask is worth while a move may be under way: that has not failed with it.
    pub(super) fn lost(self) -> Self {
        match self {
            Self::Failed(text) | Self::Refused { text, .. } | Self::Away { text, .. } => {
                Self::Lost { text: format!("{text}; {GOES_ON}"), problem: None }
            }
            other => other,
        }
    }

    /// Says it: a program that asked for JSON gets the problem document, or one in its shape, on standard output.
    fn end(self, output: OutputFormat) -> Exit {
        let (text, exit, problem) = match self {
            Self::Usage(text) => (text, Exit::Usage, None),
            Self::Failed(text) => (text, Exit::Failed, None),
            Self::Away { text, problem, .. } => (text, Exit::Failed, problem),
            Self::Lost { text, problem } => {
                let problem = problem.unwrap_or_else(|| json!({"title": "Not known", "detail": text}));
                (text, Exit::Unknown, Some(problem))
            }
            Self::Refused { held, text, problem } => {
                (text, if held { Exit::Held } else { Exit::Failed }, Some(problem))
            }
        };
        if output == OutputFormat::Json {
            let problem = problem.unwrap_or_else(|| json!({"title": "Failed", "detail": text}));
            say_json(&problem);
        }
        complain(&text);
        exit
    }
}

pub(super) async fn run(config_file: &Path, command: Command) -> Exit {
    let output = command.output();
    let result = match command {
        Command::Plan(Read { fleet, remote }) => {
            read(config_file, &remote, "plan", fleet, None, show::plan).await
        }
        Command::Explain(Read { fleet, remote }) => {
            read(config_file, &remote, "explain", fleet, None, show::explain).await
        }
        Command::History(History { fleet, limit, remote }) => {
            read(config_file, &remote, "history", fleet, Some(limit), show::history).await
        }
        Command::Switch(args) => switch(config_file, args).await,
        Command::Pause(Pause { which, lasts, why, remote }) => {
            let more = lasts.map_or(json!({}), |lasts| json!({"for": lasts}));
            pause(config_file, &remote, which, "pause", &why, more).await
        }
        Command::Resume(Resume { which, why, remote }) => {
            pause(config_file, &remote, which, "resume", &why, json!({})).await
        }
        Command::Ack(Ack { fleet, holder: expected, why, remote }) => {
            ack(config_file, &remote, &fleet, expected, &why).await
        }
        Command::Failback(Failback { fleet, planned }) => {
            planned_move(config_file, &fleet, "failback", planned, json!({})).await
        }
        Command::Approve(args) => answer(config_file, "approve", args).await,
        Command::Reject(args) => answer(config_file, "reject", args).await,
        Command::Watch(Watch { fleet, remote }) => match Client::new(config_file, &remote) {
            Ok(client) => watch::watch(&client, &fleet).await,
            Err(failure) => Err(failure),
        },
        Command::Serve(_)
        | Command::Exporter(_)
        | Command::Check(_)
        | Command::Sidecar(_)
        | Command::Probe(_)
        | Command::Simulate(_)
        | Command::Verdict(_) => Err(Failure::Usage("not a command for a running Switchyard".into())),
    };
    result.unwrap_or_else(|failure| failure.end(output))
}

/// Why, and who says so.
fn signed(why: &Why, mut body: Value) -> Result<Value, Failure> {
    let author =
        why.author.clone().filter(|author| !author.is_empty()).or_else(|| std::env::var("LOGNAME").ok());
    let author = author.ok_or_else(|| {
        Failure::Usage("say who you are with --author NAME: neither $USER nor $LOGNAME is set".to_owned())
    })?;
    body["reason"] = json!(why.reason);
    body["author"] = json!(author);
    Ok(body)
}

fn text(flag: &str, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{flag} {}: {error}", path.display())))
}

impl Client {
    fn new(config_file: &Path, remote: &Remote) -> Result<Self, Failure> {
        let config = load(config_file);
        let url = match (&remote.url, &config) {
            (Some(url), _) => url.clone(),
            (None, Ok(config)) => config.web.url.to_string(),
            (None, Err(problems)) => {
                return Err(Failure::Usage(format!(
                    "no --url, and the configuration has problems:\n{problems}"
                )));
            }
        };
        let (api, web) = match config {
            Ok(config) => (config.api.token.or(config.api.read_token), config.web.client),
            Err(_) => (None, WebClient::default()),
        };
        let token = match &remote.token_file {
            Some(path) => Some(SecretString::from(text("--token-file", path)?.trim())),
            None => api,
        };
        let user = match (&remote.user, &remote.password_file) {
            (Some(user), Some(path)) => {
                let password = text("--password-file", path)?;
                Some((user.clone(), SecretString::from(password.trim_end_matches(['\r', '\n']))))
            }
            _ => web.user,
        };
        let identity = match (&remote.client_cert_file, &remote.client_key_file) {
            (Some(certificate), Some(key)) => Some(SecretString::from(format!(
                "{}\n{}",
                text("--client-cert-file", certificate)?,
                text("--client-key-file", key)?
            ))),
            _ => web.identity,
        };
        let ca = remote.ca_file.as_ref().map(|path| text("--ca-file", path)).transpose()?.or(web.ca);
        crate::app::install_crypto();
        let unusable = |error: reqwest::Error| Failure::Usage(super::chain(&error));
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            // A redirect could take the token to somebody else.
            .redirect(reqwest::redirect::Policy::none());
        // A proxy that the environment names could only reach another machine instead.
        if url.parse().is_ok_and(|url| crate::transport::on_this_machine(&url)) {
            builder = builder.no_proxy();
        }
        if let Some(ca) = ca {
            let authorities = reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(unusable)?;
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(identity) = identity {
            // The library's text is not repeated: it speaks of a key.
            let identity =
                reqwest::Identity::from_pem(identity.expose_secret().as_bytes()).map_err(|_| {
                    Failure::Usage(
                        "the client's certificate and key cannot be used; write both as PEM".to_owned(),
                    )
                })?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(unusable)?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            token,
            user,
            output: remote.output.output,
        })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        } else if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| {
            let text = super::chain(&error);
            let sent = !error.is_connect();
            if error.is_builder() {
                Failure::Failed(text)
            } else {
                Failure::Away { text, problem: None, sent }
            }
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let failed = |text: String, problem: Option<Value>| {
            // A Switchyard that answers 503 has done nothing, unless it says that it does not know that.
            let nothing = |problem: &Value| status == 503 && problem["outcome"] != "unknown";
            let sent = !problem.as_ref().is_some_and(nothing);
            if status.is_server_error() {
                Failure::Away { text, problem, sent }
            } else {
                Failure::Failed(text)
            }
        };
        let value: Value = serde_json::from_slice(&body).map_err(|_| {
            failed(format!("{url} answered {status}, and not in JSON: is it a Switchyard?"), None)
        })?;
        if status.is_success() {
            return Ok(value);
        }
        let Some(detail) =
            value.get("detail").and_then(Value::as_str).map(|detail| one_line(detail).into_owned())
        else {
            return Err(failed(format!("{url} answered {status}, and not as a Switchyard does"), None));
        };
        let held = value.get("outcome").and_then(Value::as_str).is_some_and(|o| o.starts_with("held:"));
        let text = if held { detail } else { format!("{status}: {detail}") };
        if status.is_server_error() && !held {
            return Err(failed(text, Some(value)));
        }
        Err(Failure::Refused { held, text, problem: value })
    }

    /// Asks for an action. It may be done although no answer comes back.
    async fn act(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, Some(body)).await.map_err(|failure| match failure {
            Failure::Away { text, problem, sent: true } => {
                Failure::Lost { text: format!("{text}; {GOES_ON}"), problem }
            }
            other => other,
        })
    }

    pub(super) fn print(&self, value: &Value, table: impl Fn(&Value) -> String) {
        match self.output {
            OutputFormat::Json => say_json(value),
            OutputFormat::Table => say(&table(value)),
        }
    }
}

async fn read(
    config_file: &Path,
    remote: &Remote,
    what: &str,
    fleet: Option<String>,
    limit: Option<u32>,
    table: fn(&[Value]) -> String,
) -> Result<Exit, Failure> {
    let client = Client::new(config_file, remote)?;
    let query: Vec<String> =
        fleet.map(|f| format!("fleet={f}")).into_iter().chain(limit.map(|l| format!("limit={l}"))).collect();
    let answer = client.send(Method::GET, &format!("/api/v1/{what}?{}", query.join("&")), None).await?;
    client.print(&answer, |answer| table(answer.as_array().map(Vec::as_slice).unwrap_or_default()));
    Ok(Exit::Done)
}

pub(super) fn sentence(answer: &Value) -> String {
    show::text(answer, "sentence").into_owned()
}

async fn ack(
    config_file: &Path,
    remote: &Remote,
    fleet: &str,
    expected: String,
    why: &Why,
) -> Result<Exit, Failure> {
    let body = signed(why, json!({"expected_holder": holder(expected)}))?;
    let client = Client::new(config_file, remote)?;
    let answer = client.act(&format!("/api/v1/fleets/{fleet}/ack"), &body).await?;
    client.print(&answer, sentence);
    Ok(Exit::Done)
}

/// Pauses or resumes. Whoever does not say who holds the fleets is shown who does; a fleet that moves meanwhile must not keep
/// anybody from stopping it.
async fn pause(
    config_file: &Path,
    remote: &Remote,
    which: Which,
    verb: &str,
    why: &Why,
    more: Value,
) -> Result<Exit, Failure> {
    let Which { fleet, all: _, holder: named, holders } = which;
    let mut body = signed(why, more)?;
    let client = Client::new(config_file, remote)?;
    let (path, key) = match &fleet {
        Some(fleet) => (format!("/api/v1/fleets/{fleet}/{verb}"), "expected_holder"),
        None => (format!("/api/v1/{verb}"), "expected_holders"),
    };
    let mut tries = if named.is_none() && holders.is_empty() { TRIES } else { 1 };
    let by_name = holders.into_iter().map(|(fleet, name)| (fleet, holder(name))).collect();
    body[key] = named.map_or(Value::Object(by_name), holder);
    let strict = tries == 1;
    loop {
        if !strict {
            body[key] = seen(&client, fleet.as_deref()).await?;
        }
        tries -= 1;
        match client.act(&path, &body).await {
            Ok(answer) => {
                client.print(&answer, sentence);
                return Ok(Exit::Done);
            }
            Err(Failure::Refused { problem, .. })
                if tries > 0 && problem["outcome"] == "unexpected_holder" => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Who holds the fleet, or each of all fleets. It is shown.
async fn seen(client: &Client, fleet: Option<&str>) -> Result<Value, Failure> {
    let holders = client.send(Method::GET, "/api/v1/holders", None).await?;
    let all = holders.as_object().cloned().unwrap_or_default();
    for (name, holder) in all.iter().filter(|(name, _)| fleet.is_none_or(|fleet| fleet == *name)) {
        remark(&format!("{name} is held by {}", holder.as_str().unwrap_or("nobody")));
    }
    // The server says that there is no such fleet.
    Ok(fleet.map_or(holders, |fleet| all.get(fleet).cloned().unwrap_or_default()))
}

async fn switch(config_file: &Path, args: Switch) -> Result<Exit, Failure> {
    let Switch { fleet, to, planned } = args;
    planned_move(config_file, &fleet, "switch", planned, json!({"to": to})).await
}

/// Asks for a planned move, and follows it.
async fn planned_move(
    config_file: &Path,
    fleet: &str,
    verb: &str,
    planned: Planned,
    mut body: Value,
) -> Result<Exit, Failure> {
    let Planned { from, force, overrides, no_wait, why, remote } = planned;
    if force && overrides.is_empty() {
        let text = "--force overrides nothing by itself: name each gate with --override GATE; `switchyard explain` shows them";
        return Err(Failure::Usage(text.to_owned()));
    }
    let client = Client::new(config_file, &remote)?;
    body["from"] = holder(from);
    body["overrides"] = json!(overrides);
    let body = signed(&why, body)?;
    let path = format!("/api/v1/fleets/{fleet}");
    let answer = match client.act(&format!("{path}/{verb}"), &body).await {
        // It is recorded and not judged yet: followed like one that waits.
        Err(Failure::Lost { problem: Some(problem), .. }) if !no_wait && problem["request"].is_i64() => {
            json!({"request": problem["request"], "sentence": problem["detail"]})
        }
        answer => answer?,
    };
    if no_wait {
        client.print(&answer, sentence);
        return Ok(Exit::Done);
    }
    let (generation, request) = (answer["generation"].as_u64(), answer["request"].as_i64());
    if (generation, request) == (None, None) {
        client.print(&answer, sentence);
        return Ok(Exit::Done);
    }
    if client.output == OutputFormat::Table {
        say(&sentence(&answer));
    }
    match (generation, request) {
        (Some(generation), _) => watch::follow(&client, &path, generation).await,
        (None, request) => watch::wait(&client, &path, request.unwrap_or_default()).await,
    }
}

/// Answers a proposal, and follows the move that an approval lets go.
async fn answer(config_file: &Path, verb: &str, args: Answer) -> Result<Exit, Failure> {
    let Answer { fleet, proposal, holder: expected, no_wait, why, remote } = args;
    let client = Client::new(config_file, &remote)?;
    let body = json!({"proposal": proposal, "expected_holder": holder(expected)});
    let path = format!("/api/v1/fleets/{fleet}");
    let answer = client.act(&format!("{path}/{verb}"), &signed(&why, body)?).await?;
    let generation = answer["generation"].as_u64();
    if let Some(generation) = generation.filter(|_| !no_wait) {
        if client.output == OutputFormat::Table {
            say(&sentence(&answer));
        }
        return watch::follow(&client, &path, generation).await;
    }
    if verb == "approve" && answer["outcome"].is_null() && !no_wait {
        let text = format!("{} {GOES_ON}", sentence(&answer));
        return Err(Failure::Lost { text, problem: Some(answer) });
    }
    client.print(&answer, sentence);
    let held = answer["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("held:"));
    Ok(if held && generation.is_none() { Exit::Held } else { Exit::Done })
}

/// A holder as the API takes it: `nobody` is what everything prints.
fn holder(name: String) -> Value {
    if ["none", "nobody"].contains(&name.as_str()) { Value::Null } else { json!(name) }
}
