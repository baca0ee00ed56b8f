//! TLS, users and certificates of clients: `--web.config.file`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use switchyard_lab::{
    alertmanager::Alertmanager,
    parts::{Flavour, or_skip},
    process::Process,
    prometheus::{Prometheus, PrometheusConfig, Target},
    wait::{PATIENCE, until},
};

use crate::{
    certificates::{Authority, Pair},
    stage::{API_TOKEN, READ_TOKEN, Stage, WEBHOOK_TOKEN, alert, message},
};

pub(crate) const PASSWORD: &str = "open sesame";

pub(crate) fn hash(password: &str) -> String {
    // The lowest cost: bcrypt without optimisation is slow.
    bcrypt::hash(password, 4).unwrap()
}

/// A client that trusts one authority and shows what it is given.
fn client(authority: &Authority, identity: Option<&Pair>) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        // A connection of its own for every request: the handshake is what is asked about.
        .pool_max_idle_per_host(0)
        .tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).unwrap()]);
    match identity {
        Some(pair) => builder.identity(pair.identity()).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// A stage whose program speaks TLS.
pub(crate) struct Tls {
    pub(crate) stage: Stage,
    authority: Authority,
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) web: Value,
}

impl Tls {
    pub(crate) async fn new() -> Self {
        let (stage, authority) = (Stage::new().await, Authority::new());
        authority.sign(&["127.0.0.1", "localhost"]).write(&stage, "server");
        stage.secret("ca.pem", &authority.pem());
        let client = client(&authority, None);
        let base = format!("https://{}", stage.address);
        let web = json!({ "tls_server_config": { "cert_file": "server.crt", "key_file": "server.key" } });
        Self { stage, authority, client, base, web }
    }

    fn write(&self) -> String {
        // JSON is YAML.
        self.stage.secret("web.yml", &self.web.to_string()).display().to_string()
    }

    async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    pub(crate) async fn start_with(&self, flags: &[&str]) -> Process {
        let file = self.write();
        self.stage
            .serve(&[&["--web.config.file", &file][..], flags].concat(), async || {
                let answer =
                    self.client.get(format!("{}/-/ready", self.base)).bearer_auth(API_TOKEN).send().await?;
                ensure!(answer.status() == 200, "{answer:?}");
                Ok(())
            })
            .await
    }

    async fn status(&self, method: Method, path: &str, who: &Who, body: &Value) -> u16 {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = match who {
            Who::Nobody => request,
            Who::User(password) => request.basic_auth("ali", Some(password)),
            Who::Bearer(token) => request.bearer_auth(token),
        };
        request.json(body).send().await.unwrap().status().as_u16()
    }
}

#[derive(Debug)]
enum Who {
    Nobody,
    User(&'static str),
    Bearer(&'static str),
}

#[tokio::test]
async fn users_and_tokens_open_what_the_documentation_says() {
    let mut tls = Tls::new().await;
    tls.web["basic_auth_users"] = json!({ "ali": hash(PASSWORD) });
    tls.web["http_server_config"] =
        json!({ "headers": { "X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=60" } });
    tls.stage.settings["api"]["read_token_file"] = json!(tls.stage.secret("read", READ_TOKEN));
    let _process = tls.start().await;
    let firing = message(&[alert("f", "failback", "green", None)]);
    let why = json!({"reason": "test", "author": "ada", "expected_holders": {"rnd": "blue"}});
    let (reads, hook, act) = ("/api/v1/fleets", "/api/v1/alerts", "/api/v1/resume");
    let (nobody, user, wrong) = (Who::Nobody, Who::User(PASSWORD), Who::User("open barley"));
    let (webhook, reading, acting) =
        (Who::Bearer(WEBHOOK_TOKEN), Who::Bearer(READ_TOKEN), Who::Bearer(API_TOKEN));
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", reads, "/api/v1/history"] {
        for (who, status) in
            [(&nobody, 401), (&user, 200), (&wrong, 401), (&webhook, 401), (&reading, 200), (&acting, 200)]
        {
            assert_eq!(tls.status(Method::GET, path, who, &Value::Null).await, status, "{path} {who:?}");
        }
    }
    assert_eq!(tls.status(Method::GET, "/nothing", &nobody, &Value::Null).await, 401);
    assert_eq!(tls.status(Method::GET, "/nothing", &user, &Value::Null).await, 404);
    for (who, status) in [(&nobody, 401), (&user, 401), (&webhook, 200), (&reading, 401), (&acting, 401)] {
        assert_eq!(tls.status(Method::POST, hook, who, &firing).await, status, "{who:?}");
    }
    for (who, status) in [(&nobody, 401), (&user, 401), (&webhook, 401), (&reading, 401), (&acting, 200)] {
        assert_eq!(tls.status(Method::POST, act, who, &why).await, status, "{who:?}");
    }
    let answer = tls.client.get(format!("{}/metrics", tls.base)).send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Basic");
    assert_eq!(answer.headers()["x-frame-options"], "deny");
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=60");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    // Clear text is not TLS.
    assert!(tls.stage.send(Method::GET, "/metrics", API_TOKEN, Vec::new()).await.is_err());
}

#[tokio::test]
async fn without_a_webhook_token_a_webhook_needs_loopback_and_a_user() {
    let mut tls = Tls::new().await;
    tls.web = json!({ "basic_auth_users": { "ali": hash(PASSWORD) } });
    tls.stage.settings["webhook"].as_object_mut().unwrap().remove("token_file");
    let file = tls.write();
    tls.base = format!("http://{}", tls.stage.address);
    let ready = async || {
        let answer = tls.client.get(format!("{}/-/ready", tls.base)).bearer_auth(API_TOKEN).send().await?;
        ensure!(answer.status() == 200, "{answer:?}");
        Ok(())
    };
    let _process = tls.stage.serve(&["--web.config.file", &file], ready).await;
    let firing = message(&[alert("f", "failback", "green", None)]);
    for (who, status) in [(Who::Nobody, 401), (Who::User("no"), 401), (Who::User(PASSWORD), 200)] {
        assert_eq!(tls.status(Method::POST, "/api/v1/alerts", &who, &firing).await, status, "{who:?}");
    }
}

#[tokio::test]
async fn the_command_line_speaks_tls_by_flags_and_by_configuration() {
    let mut tls = Tls::new().await;
    tls.web["basic_auth_users"] = json!({ "ali": hash(PASSWORD) });
    tls.web["tls_server_config"]["client_auth_type"] = json!("RequireAndVerifyClientCert");
    tls.web["tls_server_config"]["client_ca_file"] = json!("ca.pem");
    let identity = tls.authority.sign(&["ali.example"]);
    let (certificate, key) = identity.write(&tls.stage, "client");
    tls.client = client(&tls.authority, Some(&identity));
    tls.stage.settings["web"]["url"] = json!(tls.base);
    let _process = tls.start().await;
    let file = |path: &Path| path.display().to_string();
    let (password, ca) =
        (file(&tls.stage.secret("password", PASSWORD)), file(&tls.stage.dir().join("ca.pem")));
    let (certificate, key) = (file(&certificate), file(&key));

    let unknown = tls.stage.cli(&["plan"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("certificate"), "{unknown:?}");
    let nobody = tls.stage.cli(&["plan", "--ca-file", &ca]).await;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    let flags = ["--ca-file", &ca, "--client-cert-file", &certificate, "--client-key-file", &key];
    let known = tls.stage.cli(&[&["plan"][..], &flags].concat()).await;
    assert_eq!(known.code, 0, "{known:?}");
    // Without the configuration's tokens, the user reads and nobody acts.
    tls.stage.settings["api"] = json!({});
    tls.stage.configure();
    let user = [&flags[..], &["--user", "ali", "--password-file", &password]].concat();
    assert_eq!(tls.stage.cli(&[&["plan"][..], &flags].concat()).await.code, 1);
    assert_eq!(tls.stage.cli(&[&["plan"][..], &user].concat()).await.code, 0);
    assert_eq!(tls.stage.cli(&[&["resume", "--all", "--reason", "x"][..], &user].concat()).await.code, 1);

    tls.stage.settings["api"] = json!({ "token_file": tls.stage.dir().join("api") });
    let web = &mut tls.stage.settings["web"];
    (web["ca_file"], web["client_cert_file"]) = (json!("ca.pem"), json!("client.crt"));
    (web["client_key_file"], web["user"]) = (json!("client.key"), json!("ali"));
    web["password_file"] = json!("password");
    tls.stage.configure();
    assert_eq!(tls.stage.cli(&["plan"]).await.code, 0);
    let resumed = tls.stage.cli(&["resume", "--all", "--reason", "x"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
}

#[tokio::test]
async fn certificates_and_users_change_without_a_restart() {
    let mut tls = Tls::new().await;
    tls.web["basic_auth_users"] = json!({ "ali": hash(PASSWORD) });
    let mut process = tls.start().await;
    let good = async |client: &Client, password: &str| -> Result<bool> {
        let answer =
            client.get(format!("{}/metrics", tls.base)).basic_auth("ali", Some(password)).send().await?;
        Ok(answer.status() == 200)
    };
    let metric = async |client: &Client| -> Result<f64> {
        let page = client.get(format!("{}/metrics", tls.base)).bearer_auth(API_TOKEN).send().await?;
        let page = switchyard_lab::exposition::Page::parse(&page.text().await?);
        page.value("switchyard_web_config_last_reload_successful", &[]).context("no metric")
    };
    assert!(good(&tls.client, PASSWORD).await.unwrap());

    // Another authority, as when the first one ends.
    let next = Authority::new();
    let newer = client(&next, None);
    assert!(good(&newer, PASSWORD).await.is_err());
    let (server, _) = (next.sign(&["127.0.0.1"]), ());
    // First a key that fits nothing: what was good stays.
    tls.stage.secret("server.key", &server.key);
    until(PATIENCE, "the change is refused", async || {
        ensure!(metric(&tls.client).await? == 0.0);
        Ok(())
    })
    .await
    .unwrap();
    assert!(tls.stage.log("switchyard").contains("is not the key of the certificate"));
    server.write(&tls.stage, "server");
    until(PATIENCE, "the new certificate is shown", async || {
        ensure!(good(&newer, PASSWORD).await?);
        ensure!(metric(&newer).await? == 1.0);
        Ok(())
    })
    .await
    .unwrap();
    assert!(good(&tls.client, PASSWORD).await.is_err(), "the old one is gone");

    tls.web["basic_auth_users"] = json!({ "ali": hash("open oats") });
    tls.write();
    until(PATIENCE, "the new password opens", async || {
        ensure!(good(&newer, "open oats").await?);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!good(&newer, PASSWORD).await.unwrap(), "the old one was remembered and does not");
    assert!(process.exited().unwrap().is_none());
}

#[tokio::test]
async fn every_word_for_clients_certificates_does_what_it_says() {
    let mut tls = Tls::new().await;
    let stranger = Authority::new().sign(&["ali.example"]);
    let known = tls.authority.sign(&["ali.example"]);
    let other = tls.authority.sign_with(&["192.0.2.7"], Some("spiffe://example/ali"));
    let all = [None, Some(&stranger), Some(&known), Some(&other)];
    let (yes, no) = (true, false);
    for (word, ca, names, wanted) in [
        ("NoClientCert", no, &[][..], [yes, yes, yes, yes]),
        ("RequestClientCert", no, &[], [yes, yes, yes, yes]),
        ("RequireAnyClientCert", no, &[], [no, yes, yes, yes]),
        ("VerifyClientCertIfGiven", yes, &[], [yes, no, yes, yes]),
        ("RequireAndVerifyClientCert", yes, &[], [no, no, yes, yes]),
        ("RequireAndVerifyClientCert", yes, &["ali.example"], [no, no, yes, no]),
        ("RequireAndVerifyClientCert", yes, &["192.0.2.7"], [no, no, no, yes]),
        ("RequireAndVerifyClientCert", yes, &["spiffe://example/ali"], [no, no, no, yes]),
        ("RequireAndVerifyClientCert", yes, &["*.example", "example"], [no, no, no, no]),
    ] {
        let section = &mut tls.web["tls_server_config"];
        section["client_auth_type"] = json!(word);
        section["client_ca_file"] = if ca { json!("ca.pem") } else { Value::Null };
        section["client_allowed_sans"] = if names.is_empty() { Value::Null } else { json!(names) };
        let listening = listen(&tls.write()).await;
        for (identity, wanted) in all.iter().zip(wanted) {
            let answer = client(&tls.authority, *identity).get(&listening.url).send().await;
            assert_eq!(answer.is_ok(), wanted, "{word} {names:?} {identity:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn versions_suites_and_http2_are_those_asked_for() {
    let mut tls = Tls::new().await;
    let (old, new) = (reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3);
    let rsa_only = json!(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    let ecdsa = json!(["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
    for (settings, with_old, with_new) in [
        (json!({}), true, true),
        (json!({"min_version": "TLS13"}), false, true),
        (json!({"max_version": "TLS12"}), true, false),
        // The key is an elliptic one.
        (json!({"cipher_suites": rsa_only}), false, true),
        (json!({"cipher_suites": ecdsa, "curve_preferences": ["CurveP256"]}), true, true),
        (json!({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}), false, true),
    ] {
        let mut section = json!({ "cert_file": "server.crt", "key_file": "server.key" });
        section.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        tls.web = json!({ "tls_server_config": section, "http_server_config": { "http2": false } });
        let listening = listen(&tls.write()).await;
        for (version, wanted) in [(old, with_old), (new, with_new)] {
            let authority = Certificate::from_pem(tls.authority.pem().as_bytes()).unwrap();
            let builder = Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([authority]);
            let client = builder.tls_version_min(version).tls_version_max(version).build().unwrap();
            let answer = client.get(&listening.url).send().await;
            assert_eq!(answer.is_ok(), wanted, "{settings} {version:?}: {answer:?}");
            assert!(answer.is_err() || answer.unwrap().version() == reqwest::Version::HTTP_11);
        }
    }
}

/// The listener alone, with a page.
struct Listening {
    url: String,
    _end: tokio_util::sync::DropGuard,
}

async fn listen(file: &str) -> Listening {
    use switchyard::web::{Limits, Listener, Security, serve};
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", socket.local_addr().unwrap());
    let security = Security::load(Some(Path::new(file))).unwrap();
    let limits = Limits { connections: 100, slow: PATIENCE, idle: PATIENCE };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let listener = Listener { socket, security, limits, metrics: Default::default() };
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "well\n" }));
    tokio::spawn(serve(listener, router, shutdown.clone()));
    Listening { url, _end: shutdown.drop_guard() }
}

#[tokio::test]
async fn check_lists_all_that_is_wrong_with_the_web_file() {
    let stage = Stage::new().await;
    stage.configure();
    let file = stage.secret(
        "web.yml",
        "tls_server_config:\n  cert_file: absent.crt\n  key: |\n    my secret key\n  min_version: TLS10\n  \
         client_auth_type: RequireAndVerifyClientCerts\n  client_allowed_sans: [ali@example.com]\n  \
         cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n  curve_preferences: [CurveP521]\n  certfile: x\n\
         http_server_config:\n  headers:\n    X-Frame-Options: never\n    X-Other: a\nrate_limit:\n  burst: 1\n\
         basic_auth_users:\n  ali: plain-password\n  cassim: $2y$31$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n",
    );
    let said = stage.cli(&["check", "--offline", "--web.config.file", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let place = format!("{}: ", file.display());
    let dir = stage.dir().display().to_string();
    let lines: Vec<String> =
        said.stdout.lines().map(|l| l.replace(&place, "").replace(&dir, "DIR")).collect();
    let suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
                  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
    let hashed = "hash the password with: htpasswd -nBC 10 USER";
    let mut wanted = vec![
        "ERROR   tls_server_config.cert_file: cannot read DIR/absent.crt: there is no such file; put it there as PEM"
            .to_owned(),
        "ERROR   tls_server_config.key: holds no private key; write it as PEM".to_owned(),
        "ERROR   tls_server_config.client_auth_type: \"RequireAndVerifyClientCerts\" is no client authentication \
         policy; did you mean \"RequireAndVerifyClientCert\"?"
            .to_owned(),
        "ERROR   tls_server_config.client_allowed_sans: says nothing about a certificate that is not verified; set \
         client_auth_type to RequireAndVerifyClientCert, or anybody can claim a name"
            .to_owned(),
        "ERROR   tls_server_config.client_allowed_sans: \"ali@example.com\" is an e-mail address, which cannot be \
         compared; use a DNS name, an IP address or a URI"
            .to_owned(),
        "ERROR   tls_server_config.min_version: TLS10 is not spoken: it is broken, and the TLS library (rustls) \
         leaves it out; set it to TLS12 or TLS13"
            .to_owned(),
        format!(
            "ERROR   tls_server_config.cipher_suites: \"TLS_RSA_WITH_RC4_128_SHA\" is no suite that rustls has; use \
             {suites}"
        ),
        "ERROR   tls_server_config.curve_preferences: \"CurveP521\" is no curve that rustls has; use X25519, \
         CurveP256, CurveP384"
            .to_owned(),
        "ERROR   tls_server_config.certfile: is not a key that Switchyard knows; did you mean \"cert_file\"?".to_owned(),
        "ERROR   http_server_config.headers.X-Frame-Options: cannot be \"never\"; use deny or sameorigin".to_owned(),
        "ERROR   http_server_config.headers.X-Other: is not a key that Switchyard knows; remove it; known here: \
         Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, \
         X-XSS-Protection"
            .to_owned(),
        format!("ERROR   basic_auth_users: the user \"ali\" has a hash that is not bcrypt's; {hashed}"),
        format!("ERROR   basic_auth_users: the user \"cassim\" has a hash of cost 31, not 4 to 16; {hashed}"),
        "ERROR   rate_limit: is not supported: it would turn Alertmanager away in a storm; remove it; \
         --web.max-connections limits what a client can take"
            .to_owned(),
    ];
    wanted.push(format!("{} errors", wanted.len()));
    let (mut found, mut expected) = (lines, wanted);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(!said.stdout.contains("my secret key") && !said.stdout.contains("plain-password"), "{said:?}");

    // What is no YAML at all is not repeated either, and `serve` refuses what `check` refuses.
    let file = stage.secret("web.yml", "basic_auth_users:\n  ali: [my secret key\n");
    let said = stage.cli(&["serve", "--web.config.file", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("is not YAML") && !said.stderr.contains("my secret"), "{said:?}");
    let file = stage.secret("web.yml", "# nothing\n");
    let said = stage.cli(&["check", "--offline", "--web.config.file", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("web.yml: can be used"), "{said:?}");
}

#[tokio::test]
async fn a_real_alertmanager_and_a_real_prometheus_come_over_tls() {
    let mut tls = Tls::new().await;
    tls.web["basic_auth_users"] = json!({ "ali": hash(PASSWORD) });
    let _process = tls.start().await;
    let ca = tls.stage.dir().join("ca.pem");
    let token = tls.stage.dir().join("webhook");
    let receiver = json!({
        "url": format!("{}/api/v1/alerts", tls.base),
        "http_config": {
            "authorization": { "credentials_file": token },
            "tls_config": { "ca_file": ca },
        },
    });
    let yaml = json!({
        "route": { "receiver": "switchyard", "group_wait": "0s" },
        "receivers": [{ "name": "switchyard", "webhook_configs": [receiver] }],
    });
    let Some(alertmanager) = or_skip(Alertmanager::start(Flavour::Pinned, &yaml.to_string()).await) else {
        return;
    };
    let labels =
        [("alertname", "X"), ("switchyard", "failback"), ("fleet", "rnd"), ("runner_cluster", "green")];
    alertmanager.post(&labels, PATIENCE).await.unwrap();
    until(PATIENCE, "the alert is stored", async || {
        ensure!(tls.stage.signals().await.len() == 1);
        Ok(())
    })
    .await
    .unwrap();

    let job = json!({
        "scheme": "https",
        "tls_config": { "ca_file": ca },
        "basic_auth": { "username": "ali", "password": PASSWORD },
    });
    let config = PrometheusConfig {
        targets: vec![Target::new("switchyard", tls.stage.address, [])],
        jobs: BTreeMap::from([("switchyard".to_owned(), job)]),
        ..PrometheusConfig::default()
    };
    let Some(prometheus) = or_skip(Prometheus::start(config).await) else { return };
    prometheus.until("up{job=\"switchyard\"} == 1").await.unwrap();
    prometheus.until("switchyard_webhook_requests_total{code=\"200\"} == 1").await.unwrap();
}
