//! The commands that talk to a running Switchyard.

use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Ack, Command, Exit, History, OutputFormat, Pause, Read, Remote, Resume, Switch, Why, complain, load, say,
    show,
};
use crate::config::WebClient;

const TIMEOUT: Duration = Duration::from_secs(30);
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// A running Switchyard.
struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<SecretString>,
    user: Option<(String, SecretString)>,
    output: OutputFormat,
}

/// Why a command ended without an answer.
enum Failure {
    Usage(String),
    Failed(String),
    /// The problem document of a refusal; held when a gate holds it.
    Refused {
        held: bool,
        text: String,
        problem: Value,
    },
}

impl Failure {
    /// Says it: a program that asked for JSON gets the problem document, or one in its shape, on standard output.
    fn end(self, output: OutputFormat) -> Exit {
        let (text, exit, problem) = match self {
            Self::Usage(text) => (text, Exit::Usage, None),
            Self::Failed(text) => (text, Exit::Failed, None),
            Self::Refused { held, text, problem } => {
                (text, if held { Exit::Held } else { Exit::Failed }, Some(problem))
            }
        };
        if output == OutputFormat::Json {
            let problem = problem.unwrap_or_else(|| json!({"title": "Failed", "detail": text}));
            say(&format!("{problem:#}"));
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
        Command::Pause(Pause { fleet, lasts, why, remote }) => {
            let more = lasts.map_or(json!({}), |lasts| json!({"for": lasts}));
            act(config_file, &remote, fleet.as_deref(), "pause", &why, more).await
        }
        Command::Resume(Resume { fleet, why, remote }) => {
            act(config_file, &remote, fleet.as_deref(), "resume", &why, json!({})).await
        }
        Command::Ack(Ack { fleet, why, remote }) => {
            act(config_file, &remote, Some(&fleet), "ack", &why, json!({})).await
        }
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
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            // A redirect could take the token to somebody else.
            .redirect(reqwest::redirect::Policy::none());
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

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
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
        let unreachable = |error: reqwest::Error| Failure::Failed(super::chain(&error));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| {
            Failure::Failed(format!("{url} answered {status}, and not in JSON: is it a Switchyard?"))
        })?;
        if status.is_success() {
            return Ok(value);
        }
        let Some(detail) = value.get("detail").and_then(Value::as_str).map(str::to_owned) else {
            return Err(Failure::Failed(format!("{url} answered {status}, and not as a Switchyard does")));
        };
        let held = value.get("outcome").and_then(Value::as_str).is_some_and(|o| o.starts_with("held:"));
        let text = if held { detail } else { format!("{status}: {detail}") };
        Err(Failure::Refused { held, text, problem: value })
    }

    fn print(&self, value: &Value, table: impl Fn(&Value) -> String) {
        match self.output {
            OutputFormat::Json => say(&format!("{value:#}")),
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

fn sentence(answer: &Value) -> String {
    answer.get("sentence").and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn act(
    config_file: &Path,
    remote: &Remote,
    fleet: Option<&str>,
    verb: &str,
    why: &Why,
    more: Value,
) -> Result<Exit, Failure> {
    let body = signed(why, more)?;
    let client = Client::new(config_file, remote)?;
    let path = match fleet {
        Some(fleet) => format!("/api/v1/fleets/{fleet}/{verb}"),
        None => format!("/api/v1/{verb}"),
    };
    let answer = client.send(Method::POST, &path, Some(&body)).await?;
    client.print(&answer, sentence);
    Ok(Exit::Done)
}

async fn switch(config_file: &Path, args: Switch) -> Result<Exit, Failure> {
    let Switch { fleet, to, from, no_wait, why, remote } = args;
    let client = Client::new(config_file, &remote)?;
    let from = (from != "none").then_some(from);
    let body = signed(&why, json!({"to": to, "from": from}))?;
    let path = format!("/api/v1/fleets/{fleet}");
    let answer = client.send(Method::POST, &format!("{path}/switch"), Some(&body)).await?;
    let generation = answer.get("generation").and_then(Value::as_u64);
    let Some(generation) = generation.filter(|_| !no_wait) else {
        client.print(&answer, sentence);
        return Ok(Exit::Done);
    };
    if client.output == OutputFormat::Table {
        say(&sentence(&answer));
    }
    watch(&client, &path, generation).await
}

/// Follows a move until it was seen done, failed, or another decision took its place.
async fn watch(client: &Client, path: &str, generation: u64) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut shown = String::new();
    loop {
        let fleet = client.send(Method::GET, path, None).await?;
        let now = fleet.get("generation").and_then(Value::as_u64).unwrap_or_default();
        if now > generation {
            return Err(Failure::Failed(format!(
                "generation {now} took the place of {generation}; see the history"
            )));
        }
        let state = fleet.pointer("/decision/state").and_then(Value::as_str).unwrap_or_default();
        match state {
            "done" if now == generation => {
                client.print(&fleet, sentence);
                return Ok(Exit::Done);
            }
            "failed" if now == generation => return Err(Failure::Failed(sentence(&fleet))),
            _ => {}
        }
        let line = progress(&fleet);
        if line != shown && client.output == OutputFormat::Table {
            progress_line(&format!("{line}  {:.0} s", started.elapsed().as_secs_f64()));
            shown = line;
        }
        tokio::time::sleep(WATCH_PERIOD).await;
    }
}

fn progress(fleet: &Value) -> String {
    let number =
        |key: &str| fleet.pointer(&format!("/progress/{key}")).and_then(Value::as_u64).unwrap_or_default();
    let phase = fleet.pointer("/plan/phase").and_then(Value::as_str);
    let waiting = fleet.pointer("/plan/waiting").and_then(Value::as_str);
    format!(
        "{}: tagged {}/{}, DNS {}/{}, still to untag {}",
        phase.or(waiting).unwrap_or("looking"),
        number("tagged"),
        number("to_tag"),
        number("dns_agreeing"),
        number("dns_servers"),
        number("to_untag")
    )
}

/// Progress is for eyes: it goes to standard error, and only when that is a terminal.
#[expect(clippy::print_stderr, reason = "progress is no part of the answer")]
fn progress_line(line: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("  {line}");
    }
}
