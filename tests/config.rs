//! The configuration as files: what ships loads, what is broken says all that is wrong, what is documented exists.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::ExposeSecret;
use switchyard::{
    config::{self, Config, DnsProvider, Problems, Scope},
    model::{
        Approval, ClusterName, Drain, DrainPolicy, Failback, FleetName, MoveKind, PoolSelector, Question,
        SignedDuration,
    },
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(dir))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {dir}");
    found
}

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

/// A directory with every secret that the shipped examples name, readable by their owner only.
fn etc() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "gitlab-token",
        "webhook-token",
        "api-token",
        "read-token",
        "tsig-secret",
        "prometheus-token",
        "database-password",
    ];
    for name in names {
        let path = dir.path().join(name);
        fs::write(&path, format!("secret-of-{name}\r\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir
}

fn shipped(name: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let dir = etc();
    let text = fs::read_to_string(root().join("deploy/config").join(name)).unwrap();
    let path = dir.path().join("switchyard.toml");
    fs::write(&path, text.replace("/etc/switchyard/", "")).unwrap();
    config::load(&path, env(variables))
}

#[test]
fn every_shipped_example_loads() {
    let mut warned = BTreeMap::new();
    for path in files("deploy/config", "toml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let config = shipped(name, &[]).unwrap_or_else(|problems| panic!("{name}:\n{problems}"));
        let warnings: Vec<String> = config.warnings().iter().map(|w| w.path.clone()).collect();
        if !warnings.is_empty() {
            warned.insert(name.to_owned(), warnings);
        }
    }
    let expected = BTreeMap::from([("minimal.toml".to_owned(), vec!["api.token_file".to_owned()])]);
    assert_eq!(warned, expected, "an example warns only of what it is meant to show");
}

#[test]
fn broken_files_say_all_that_is_wrong() {
    for path in files("tests/fixtures/config", "toml") {
        let dir = path.parent().unwrap();
        let problems = config::load(&path, []).expect_err(&path.display().to_string());
        let said = problems.to_string().replace(&format!("{}/", dir.display()), "") + "\n";
        assert!(!said.contains("hidden") && !said.contains("glpat"), "a secret is shown:\n{said}");
        let beside = path.with_extension("expected");
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(said, expected, "{} differs from what was said:\n{said}", beside.display());
    }
}

#[test]
fn the_example_becomes_what_it_says() {
    let config = shipped("switchyard.toml", &[]).unwrap();
    assert_eq!(config.gitlab.scope, Scope::Group("company/platform".into()));
    assert_eq!(config.gitlab.token.expose_secret(), "secret-of-gitlab-token", "line ends are cut off");
    assert_eq!(config.prometheus.urls.len(), 2);
    assert_eq!(config.webhook.max_body, 8 << 20);
    assert_eq!(config.store.retention, SignedDuration::from_hours(400 * 24));
    let DnsProvider::Rfc2136(bind) = &config.dns["bind"];
    assert_eq!((bind.server.to_string(), bind.zone.as_str()), ("10.0.0.53:53".into(), "company.test."));
    assert_eq!(bind.verify, ["10.0.1.53:53".parse().unwrap()]);

    let rnd: FleetName = "rnd".parse().unwrap();
    let blue: ClusterName = "blue".parse().unwrap();
    let fleet = &config.topology.fleets[&rnd];
    assert!(!fleet.enabled, "an example moves nothing");
    assert_eq!(fleet.home(), Some(&blue));
    assert_eq!(fleet.failback, Failback::Manual);
    assert_eq!(fleet.pools[&blue].selector, PoolSelector::HomeTag("runner-a".parse().unwrap()));
    assert_eq!(fleet.record_set(&blue).unwrap().to_string(), "ingress.blue.company.test. (TTL 30 s)");
    assert_eq!(
        config.queries[&rnd].questions[&Question::Alive],
        r#"fleet_runner_cluster:gitlab_runner_up:ratio{fleet="rnd"}"#
    );
    let asked: Vec<Question> = config.queries[&rnd].questions.keys().copied().collect();
    assert_eq!(asked, Question::ALL[..4], "what the fleet does not require is not asked");
    assert!(config.queries[&rnd].managers.contains(r#"{fleet="rnd","#));
}

#[test]
fn what_people_may_ask_of_a_fleet() {
    let config = shipped("several-fleets.toml", &[]).unwrap();
    let fleet = |name: &str| &config.topology.fleets[&name.parse::<FleetName>().unwrap()];
    let half_an_hour = SignedDuration::from_mins(30);
    assert_eq!(fleet("deploy").approval, Approval::Required(half_an_hour));
    assert_eq!(fleet("build").approval, Approval::NotRequired);
    let (deadline, look_back) = (SignedDuration::from_hours(2), SignedDuration::from_hours(24));
    let drain = Drain { deadline, look_back, policy: DrainPolicy::Hold };
    assert_eq!((fleet("build").drain, fleet("deploy").drain), (Some(drain), None));
    let window = fleet("build").window.as_ref().unwrap();
    assert_eq!(window.to_string(), "Mon-Fri 22:00-05:00; Sat,Sun 00:00-24:00 Europe/Berlin");
    assert_eq!(window.applies_to, BTreeSet::from([MoveKind::Failback, MoveKind::Switchover]));
    assert_eq!(config.web.runbook_url, "http://127.0.0.1:9797/docs/gates.md");
}

#[test]
fn a_fleet_may_ask_differently() {
    let config = shipped("several-fleets.toml", &[]).unwrap();
    let of = |fleet: &str| &config.queries[&fleet.parse::<FleetName>().unwrap()].questions[&Question::Able];
    assert_eq!(of("gpu"), r#"min by (runner_cluster) (gpu_runner_well{fleet="gpu"})"#);
    assert_eq!(of("build"), r#"fleet_runner_cluster:gitlab_runner_polls_well:ratio{fleet="build"}"#);
    let build = &config.topology.fleets[&"build".parse().unwrap()];
    assert_eq!(build.failback, Failback::After(SignedDuration::from_mins(30)));
}

#[test]
fn each_fleet_is_asked_about_what_it_requires_and_nothing_more() {
    let required = [
        ("SWITCHYARD__FLEETS__BUILD__REQUIRE__BACKUPS", "true"),
        ("SWITCHYARD__FLEETS__DEPLOY__REQUIRE__API", "true"),
        ("SWITCHYARD__FLEETS__DEPLOY__REQUIRE__GITOPS", "true"),
        ("SWITCHYARD__FLEETS__DEPLOY__REQUIRE__BACKUP_MAX_AGE", "30h"),
        ("SWITCHYARD__FLEETS__DEPLOY__REQUIRE__CONVERGENCE", "15m"),
        ("SWITCHYARD__FLEETS__BUILD__EVIDENCE__BACKUPS_OVERDUE", "own_rule"),
    ];
    let config = shipped("several-fleets.toml", &required).unwrap();
    let beside_runners = |fleet: &str| -> Vec<(Question, &str)> {
        let asked = &config.queries[&fleet.parse::<FleetName>().unwrap()].questions;
        let beside = asked.iter().filter(|(question, _)| !Question::ALL[..4].contains(question));
        beside.map(|(question, query)| (*question, query.as_str())).collect()
    };
    assert_eq!(beside_runners("build"), [(Question::BackupsOverdue, "own_rule")]);
    assert_eq!(
        beside_runners("deploy"),
        [
            (Question::ClusterApi, "runner_cluster:switchyard_cluster_api_up:min"),
            (Question::GitopsBroken, "runner_cluster:switchyard_gitops_broken:count"),
            (Question::BackupAge, "runner_cluster:switchyard_velero_backup_age:seconds"),
            (Question::Convergence, "runner_cluster:switchyard_gitops_convergence_open:seconds"),
        ]
    );
    assert_eq!(beside_runners("gpu"), []);
}

#[test]
fn the_environment_wins_and_is_never_guessed_at() {
    let config = shipped(
        "switchyard.toml",
        &[
            ("SWITCHYARD__GITLAB__TOKEN", "0012e5"),
            ("SWITCHYARD__GITLAB__CONCURRENCY", "7"),
            ("SWITCHYARD__GITLAB__URL", "https://other.example.com/gitlab"),
            ("SWITCHYARD__PROMETHEUS__URLS", "http://only:9090"),
            ("SWITCHYARD__FLEETS__RND__ENABLED", "false"),
            ("SWITCHYARD__FLEETS__RND__FAILBACK__AFTER", "45m"),
            ("SWITCHYARD__FLEETS__RND__THRESHOLDS__MARGIN", "0.1"),
            ("SWITCHYARD__STORE__URL", "sqlite:///srv/switchyard.db"),
            // What Kubernetes sets for a service of that name, and others of no concern.
            ("SWITCHYARD_SERVICE_HOST", "10.1.2.3"),
            ("SWITCHYARD_PORT", "tcp://10.1.2.3:80"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.gitlab.token.expose_secret(), "0012e5");
    assert_eq!(config.gitlab.concurrency, 7);
    assert_eq!(config.gitlab.url.as_str(), "https://other.example.com/gitlab");
    assert_eq!(config.prometheus.urls.len(), 1);
    assert_eq!(config.store.url.expose_secret(), "sqlite:///srv/switchyard.db");
    let fleet = &config.topology.fleets[&"rnd".parse().unwrap()];
    assert!(!fleet.enabled);
    assert_eq!(fleet.failback, Failback::After(SignedDuration::from_mins(45)));
    assert_eq!(fleet.thresholds.margin, 0.1);
}

#[test]
fn a_wrong_variable_is_named() {
    let problems = shipped(
        "minimal.toml",
        &[
            ("SWITCHYARD__GITLAB__CONCURENCY", "7"),
            ("SWITCHYARD__GITLAB__TIMEOUT", "ten"),
            ("SWITCHYARD__GITLAB__TOKEN", ""),
            ("SWITCHYARD__FLEETS__RND__ENABLED", "maybe"),
            ("SWITCHYARD__WEBHOOK", "x"),
        ],
    )
    .unwrap_err();
    assert_eq!(
        lines(&problems),
        [
            "gitlab.token (from SWITCHYARD__GITLAB__TOKEN): the secret is empty; write the secret into it",
            "gitlab.timeout (from SWITCHYARD__GITLAB__TIMEOUT): \"ten\" is not a duration; write it as \"30s\", \"10m\", \"1h 30m\" or \"400d\"",
            "gitlab.concurency (from SWITCHYARD__GITLAB__CONCURENCY): is not a key that Switchyard knows; did you mean \"concurrency\"?",
            "webhook (from SWITCHYARD__WEBHOOK): is a text; make it a table",
            "fleets.rnd.enabled (from SWITCHYARD__FLEETS__RND__ENABLED): \"maybe\" is neither true nor false; set it to true or false",
        ]
    );
}

#[test]
fn secrets_are_never_printed() {
    let config = shipped("several-fleets.toml", &[("SWITCHYARD__GITLAB__TOKEN", "secret-of-env")]).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret-of"), "{shown}");
    assert!(shown.contains("gitlab.example.com"));
}

#[test]
fn what_is_risky_is_told() {
    let dir = etc();
    fs::set_permissions(dir.path().join("gitlab-token"), fs::Permissions::from_mode(0o644)).unwrap();
    let text = r#"
[gitlab]
url = "http://gitlab.example.com"
token_file = "gitlab-token"
[prometheus]
urls = ["http://prometheus.example.com"]
token_file = "prometheus-token"
[evidence]
alive = "up"
[dns.providers.bind]
type = "rfc2136"
server = "127.0.0.1:5300"
zone = "company.test"
tsig_secret_file = "tsig-secret"
[fleets.alone]
routing_tag = "alone"
pools.blue = { home_tag = "a", dns = "blue.company.test." }
[fleets.same]
routing_tag = "same"
prefer = ["blue", "green"]
dns = { name = "same.company.test", type = "A", ttl = "5m", provider = "bind" }
pools.blue = { home_tag = "b", dns = "10.0.0.1" }
pools.green = { home_tag = "c", dns = ["10.0.0.1"] }
"#;
    let config = Config::from_toml(text, dir.path(), []).unwrap();
    let here = format!("{}/", dir.path().display());
    let said: Vec<String> = config.warnings().iter().map(|w| w.to_string().replace(&here, "")).collect();
    assert_eq!(
        said,
        [
            "gitlab.url: sends the token to http://gitlab.example.com/ in clear text; use https://",
            "gitlab.token_file: gitlab-token can be read by everybody; take the right away (chmod o-r; in Kubernetes: defaultMode 0440)",
            "prometheus.urls: names only one server; add one outside of the clusters it judges, or the evidence dies with its cluster",
            "prometheus.urls: sends the token to http://prometheus.example.com/ in clear text; use https://",
            "alertmanager.urls: is not set: a lost webhook is a lost failover; name every Alertmanager, so that alerts are also fetched",
            "webhook.token_file: is not set: webhooks are taken from this machine only; name the file that holds Alertmanager's Bearer token",
            "api.token_file: is not set: people's actions are refused; name the file that holds the token for switch, pause, resume and ack",
            "evidence.alive: does not contain $fleet: all fleets get the same answer; select by fleet=\"$fleet\"",
            "fleets.alone.pools.blue.dns: has no effect: the fleet has no DNS name; add `dns` to the fleet or remove it",
            "fleets.alone.pools: there is only one: the fleet can go nowhere; add a pool in another cluster",
            "fleets.same.dns.ttl: 300 s: clients follow a move that late; use 5s to 60s",
            "fleets.same.pools.green.dns: is the same as in blue: the name does not move between them; name what serves in this cluster",
        ]
    );
}

/// A pass does not know of older moves: such a cool-down or budget would end early and say nothing.
#[test]
fn promise_4_no_cool_down_and_no_budget_reaches_further_back_than_moves_are_known() {
    let load = |retention: &str, window: &str, cool_down: &str| {
        let text = format!(
            r#"
[gitlab]
url = "https://gitlab.example.com"
[prometheus]
urls = ["https://a.example.com", "https://b.example.com"]
[store]
retention = "{retention}"
[limits]
window = "{window}"
[fleets.rnd]
routing_tag = "rnd-runner"
prefer = ["blue", "green"]
cool_down = "{cool_down}"
pools.blue = {{ home_tag = "a" }}
pools.green = {{ home_tag = "b" }}
"#
        );
        Config::from_toml(&text, Path::new("/"), env(&[("SWITCHYARD__GITLAB__TOKEN", "a-token")]))
    };
    load("7d", "7d", "7d").unwrap();
    assert_eq!(
        lines(&load("167h", "169h", "169h").unwrap_err()),
        [
            "store.retention: forgets moves that cool-downs and the budget count; make it at least 7d",
            "limits.window: is longer than moves are known for; make it at most 7d",
            "fleets.rnd.cool_down: is longer than moves are known for; make it at most 7d",
        ]
    );
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let problems = config::load(Path::new("/nonexistent/switchyard.toml"), []).unwrap_err();
    let said = problems.to_string();
    assert!(said.starts_with("/nonexistent/switchyard.toml: cannot be read: "), "{said}");
    assert!(said.ends_with("; name the file with --config.file"), "{said}");
}

/// The rows of the tables in `docs/configuration.md`: key, what it takes, default.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        // A cell may hold an escaped bar.
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|c| c.trim().replace('\u{1}', "|")).collect();
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        let before = rows.insert(plain(&cells[0]), (cells[1].clone(), plain(&cells[2])));
        assert!(before.is_none(), "{} is documented twice", cells[0]);
    }
    rows
}

#[test]
fn the_reference_lists_every_key_with_its_default_and_no_other() {
    let exists: BTreeMap<String, (String, String)> = config::keys()
        .into_iter()
        .map(|(path, key)| {
            let default = match key.default {
                Some(default) => default.to_owned(),
                None if key.required => "**required**".to_owned(),
                None => "–".to_owned(),
            };
            (path, (key.kind.to_owned(), default))
        })
        .collect();
    assert!(exists.len() > 60, "the walk asked for {} keys only", exists.len());
    let documented = documented();
    for (path, key) in &exists {
        assert_eq!(documented.get(path), Some(key), "docs/configuration.md: {path}");
    }
    for path in documented.keys() {
        assert!(exists.contains_key(path), "docs/configuration.md documents {path}, which does not exist");
    }
}

/// The address of a PostgreSQL, and the password that belongs to it but does not stand beside it.
#[test]
fn a_store_that_replicas_share() {
    let config = shipped("replicas.toml", &[]).unwrap();
    let url =
        "postgres://switchyard:secret-of-database-password@db.example.com/switchyard?sslmode=verify-full";
    assert_eq!(config.store.url.expose_secret(), url);
    assert_eq!(config.store.lease, Duration::from_secs(30));
    assert!(!format!("{config:?}").contains("secret-of-database-password"));

    let with = |url: &str, password: &str, lease: &str| {
        let variables = [
            ("SWITCHYARD__STORE__URL", url),
            ("SWITCHYARD__STORE__PASSWORD", password),
            ("SWITCHYARD__STORE__LEASE", lease),
        ];
        shipped("replicas.toml", &variables)
    };
    let odd = with("postgresql://u@localhost/db", "p@ss:w/rd%41", "1m").unwrap();
    let read = url::Url::parse(odd.store.url.expose_secret()).unwrap();
    assert_eq!(read.password(), Some("p%40ss%3Aw%2Frd%2541"), "it is one part of an address");
    assert!(odd.warnings().is_empty(), "nothing leaves this machine: {:?}", odd.warnings());
    let socket = with("postgres:///db?host=/var/run/postgresql", "secret", "1m").unwrap();
    assert!(socket.store.url.expose_secret().ends_with("&password=secret") && socket.warnings().is_empty());
    let given = with("postgres://u:hidden@localhost/db", "other", "1m").unwrap();
    assert!(given.store.url.expose_secret().contains(":other@"), "the key of its own wins");

    let warned = |url: &str, lease: &str| -> Vec<String> {
        with(url, "secret", lease).unwrap().warnings().iter().map(|w| w.path.clone()).collect()
    };
    assert_eq!(warned("postgres://u@db.example.com/db", "1m"), ["store.url"], "it may be in clear text");
    assert_eq!(warned("postgres://u@db.example.com/db?sslmode=require", "1m"), ["store.url"]);
    assert_eq!(warned("postgres://u@127.0.0.1/db", "20s"), ["store.lease"], "a step may need longer");
    for (url, lease, wrong) in [
        ("postgres://u@db/db?sslmod=require", "1m", "has a parameter that is not known"),
        ("postgres://u@db/db?password=hidden", "1m", "holds a password"),
        ("postgres://u@db/db?sslmode=yes", "1m", "has an sslmode that is not known"),
        ("postgres://u@db", "1m", "names no database"),
        ("postgres://u@db1,db2/db", "1m", "names several hosts"),
        ("postgres://u:hidden@db1:5432,db2:5432/db", "1m", "names several hosts"),
        ("mysql://u:hidden@db/db", "1m", "is neither SQLite nor PostgreSQL"),
        ("postgres://u@db/db", "1s", "is shorter than 2s"),
    ] {
        let said = with(url, "secret", lease).unwrap_err().to_string();
        assert!(said.contains(wrong) && !said.contains("hidden"), "{url}: {said}");
    }
}
