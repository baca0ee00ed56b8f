//! A real etcd and a real kube-apiserver, alone: no kubelet and no controllers, so objects stay as they are written.
//!
//! It is spoken to in plain JSON, by another way than the product's.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    parts::{Flavour, Missing, target_dir},
    ports,
    process::{Process, Program},
    wait::{PATIENCE, until},
};

const ADMIN: &str = "admin-token-of-the-laboratory";

/// Whose CRDs are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crds {
    /// Velero's.
    Velero,
    /// Argo CD's Application.
    ArgoCd,
    /// Flux': Kustomization, HelmRelease and the sources.
    Flux,
    /// Those of the Prometheus operator that the chart makes objects of.
    PrometheusOperator,
}

impl Crds {
    /// All that the exporter reads.
    pub const ALL: [Self; 3] = [Self::Velero, Self::ArgoCd, Self::Flux];

    fn is_in(self, file: &str) -> bool {
        match self {
            Self::Velero => file.starts_with("velero.io_"),
            Self::ArgoCd => file.starts_with("application-crd"),
            Self::Flux => file.contains(".toolkit.fluxcd.io_"),
            Self::PrometheusOperator => {
                ["alertmanagerconfigs", "podmonitors", "prometheusrules", "servicemonitors"]
                    .iter()
                    .any(|plural| file == format!("monitoring.coreos.com_{plural}.yaml"))
            }
        }
    }

    /// The files, as the projects ship them.
    fn files(self) -> Result<Vec<PathBuf>> {
        let pinned = target_dir().join("tools/crds");
        let entries = fs::read_dir(&pinned).map_err(|_| missing(&pinned))?;
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.retain(|file| file.file_name().is_some_and(|name| self.is_in(&name.to_string_lossy())));
        files.sort();
        ensure!(!files.is_empty(), missing(&pinned));
        Ok(files)
    }
}

fn missing(path: &Path) -> Missing {
    Missing { part: path.display().to_string(), mend: "scripts/setup test" }
}

/// A running API server with its etcd. Dropping it stops both.
#[derive(Debug)]
pub struct Kubernetes {
    // The server first: it complains about a lost etcd at length.
    server: Process,
    etcd: Process,
    program: Program,
    address: SocketAddr,
    etcd_address: SocketAddr,
    http: reqwest::Client,
    dir: TempDir,
}

impl Kubernetes {
    /// Starts both and waits until the API is ready. Fails with [`Missing`] when they are not installed.
    /// Where `KUBEBUILDER_ASSETS` names a folder, the programs are taken from there.
    pub async fn start() -> Result<Self> {
        let find = |name: &str| match std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) {
            Some(dir) if dir.join(name).is_file() => Ok(dir.join(name)),
            Some(dir) => Err(Missing {
                part: dir.join(name).display().to_string(),
                mend: "setup-envtest, or unset KUBEBUILDER_ASSETS",
            }),
            None => Flavour::Pinned.find(name, name),
        };
        let (etcd, server) = (find("etcd")?, find("kube-apiserver")?);
        let dir = tempfile::Builder::new().prefix("switchyard-kubernetes-").tempdir()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (address, etcd_address, peer) =
            (ports::free_address()?, ports::free_address()?, ports::free_address()?);

        let etcd = Program::new("etcd", etcd)
            .args(["--data-dir", &at("etcd")])
            .args(["--listen-client-urls", &format!("http://{etcd_address}")])
            .args(["--advertise-client-urls", &format!("http://{etcd_address}")])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", &format!("default=http://{peer}")])
            .args(["--unsafe-no-fsync", "--log-level", "warn"]);
        let mut etcd = etcd.start(dir.path())?;

        // Service accounts' tokens are signed; the key lives as long as this server.
        let key = at("service-accounts.key");
        let openssl = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key];
        let made = Command::new("openssl").args(openssl).output().await;
        let made = made.map_err(|_| Missing { part: "openssl".to_owned(), mend: "scripts/setup test" })?;
        ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
        let public = ["pkey", "-in", &key, "-pubout", "-out", &at("service-accounts.pub")];
        ensure!(Command::new("openssl").args(public).status().await?.success(), "no public key");
        fs::write(dir.path().join("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n"))?;

        let health = format!("http://{etcd_address}/health");
        let ready =
            async || Ok(crate::http::client().get(&health).send().await?.error_for_status().map(drop)?);
        etcd.ready(PATIENCE, ready).await?;
        let program = Program::new("kube-apiserver", server)
            .arg(format!("--etcd-servers=http://{etcd_address}"))
            .arg(format!("--cert-dir={}", at("certificates")))
            .args(["--bind-address=127.0.0.1".to_owned(), format!("--secure-port={}", address.port())])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", at("service-accounts.pub")))
            .arg(format!("--service-account-signing-key-file={key}"))
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"])
            .arg(format!("--token-auth-file={}", at("tokens.csv")))
            .args(["--disable-admission-plugins=ServiceAccount", "--shutdown-delay-duration=0s"]);
        let mut server = program.start(dir.path())?;
        let http = wait_ready(&mut server, address, &dir.path().join("certificates/apiserver.crt")).await?;
        Ok(Self { server, etcd, program, address, etcd_address, http, dir })
    }

    /// Where the API listens (HTTPS).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificates that vouch for it, as PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("certificates/apiserver.crt")
    }

    /// The token of an administrator who may do everything.
    pub fn admin_token(&self) -> &'static str {
        ADMIN
    }

    /// The API server's process: for its log, or to freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.server
    }

    /// The process of etcd.
    pub fn etcd(&mut self) -> &mut Process {
        &mut self.etcd
    }

    /// Kills the API server without notice. What it stored stays.
    pub async fn kill9(&mut self) -> Result<()> {
        self.server.kill9().await
    }

    /// Starts the API server again after [`kill9`](Self::kill9), on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.server = self.program.start(self.dir.path())?;
        let ca = self.ca_file();
        // A client of its own: connections to the dead server must not be used again.
        self.http = wait_ready(&mut self.server, self.address, &ca).await?;
        Ok(())
    }

    /// Forgets all history in etcd: a watch from an older version is answered 410 Gone by a fresh API server.
    pub async fn compact(&self) -> Result<()> {
        let etcd = |path: &str, body: Value| {
            crate::http::client()
                .post(format!("http://{}/v3/kv/{path}", self.etcd_address))
                .json(&body)
                .send()
        };
        // Any read tells the current revision.
        let head: Value = etcd("range", json!({ "key": "YQ==" })).await?.json().await?;
        let revision = &head["header"]["revision"];
        let answer = etcd("compaction", json!({ "revision": revision, "physical": true })).await?;
        ensure!(answer.status().is_success(), "no compaction at {revision}: {}", answer.text().await?);
        Ok(())
    }

    /// Installs CRDs and waits until their objects are served.
    pub async fn install(&self, crds: &[Crds]) -> Result<()> {
        for crds in crds {
            for file in crds.files()? {
                let text = fs::read(&file)?;
                let url = self.url("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
                let request =
                    self.http.post(url).bearer_auth(ADMIN).header("content-type", "application/yaml");
                let answer = request.body(text).send().await?;
                let status = answer.status();
                let body = answer.text().await?;
                ensure!(status.is_success(), "{}: {status}: {body}", file.display());
                let spec = &serde_json::from_str::<Value>(&body)?["spec"];
                let served = |version: &Value| version["served"] == true;
                let versions = spec["versions"].as_array().context("a CRD without versions")?;
                let version = versions.iter().find(|version| served(version)).context("none is served")?;
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (group, version, plural) =
                    (text(&spec["group"]), text(&version["name"]), text(&spec["names"]["plural"]));
                let path = format!("/apis/{group}/{version}/{plural}");
                until(PATIENCE, &format!("{path} is served"), async || self.get(&path).await.map(drop))
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes CRDs with all their objects and waits until they are gone.
    pub async fn uninstall(&self, crds: Crds) -> Result<()> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let all = self.get(path).await?;
        let items = all["items"].as_array().context("no list of CRDs")?;
        for name in items.iter().filter_map(|item| item["metadata"]["name"].as_str()) {
            let (plural, group) = name.split_once('.').context("a CRD without a group")?;
            let file = match group {
                "argoproj.io" => "application-crd.yaml".to_owned(),
                _ => format!("{group}_{plural}.yaml"),
            };
            if !crds.is_in(&file) {
                continue;
            }
            let path = format!("{path}/{name}");
            self.send(reqwest::Method::DELETE, &path, None).await?;
            until(PATIENCE, &format!("{name} is gone"), async || match self.get(&path).await {
                Err(error) if error.to_string().contains("404") => Ok(()),
                other => bail!("{other:?}"),
            })
            .await?;
        }
        Ok(())
    }

    /// Writes an object: creates it, or lays it over the one that is there. A status is written to the
    /// subresource where there is one.
    pub async fn apply(&self, object: &Value) -> Result<Value> {
        let (folder, path) = (folder(object)?, path(object)?);
        let created = self.send(reqwest::Method::POST, &folder, Some(object)).await;
        let seen = match created {
            Ok(seen) => seen,
            Err(error) if error.to_string().contains("409") => {
                self.send(reqwest::Method::PATCH, &path, Some(object)).await?
            }
            Err(error) => return Err(error),
        };
        let Some(status) = object.get("status") else { return Ok(seen) };
        let patch = json!({ "status": status });
        match self.send(reqwest::Method::PATCH, &format!("{path}/status"), Some(&patch)).await {
            // No subresource: the status was written with the rest.
            Err(error) if error.to_string().contains("404") => Ok(seen),
            other => other,
        }
    }

    /// Writes a new object with its status, where its kind has no subresource for that: one request.
    pub async fn create(&self, object: Value) -> Result<()> {
        self.send(reqwest::Method::POST, &folder(&object)?, Some(&object)).await.map(drop)
    }

    /// Lets the API server judge a new object as strictly as it can, without writing it.
    pub async fn dry_run(&self, object: &Value) -> Result<()> {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", folder(object)?);
        self.send(reqwest::Method::POST, &path, Some(object)).await.map(drop)
    }

    /// Writes every object of a file of manifests, as the shipped ones are, and their namespaces.
    pub async fn apply_file(&self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", path.display()))?;
        for object in objects {
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                self.namespace(namespace).await?;
            }
            self.apply(&object).await?;
        }
        Ok(())
    }

    /// A token for a service account that exists.
    pub async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 3600 }
        });
        let answer = self.send(reqwest::Method::POST, &path, Some(&request)).await?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
    }

    /// Removes an object, told by its kind and names.
    pub async fn delete(&self, object: &Value) -> Result<()> {
        self.send(reqwest::Method::DELETE, &path(object)?, None).await.map(drop)
    }

    /// What the API answers to a `GET`, as the administrator.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(reqwest::Method::GET, path, None).await
    }

    /// Makes a service account and its namespace, and a token for it.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<String> {
        self.namespace(namespace).await?;
        let meta = json!({ "name": name, "namespace": namespace });
        self.apply(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta })).await?;
        self.token(namespace, name).await
    }

    /// Makes a namespace, if it is not there.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.apply(&namespace).await.map(drop)
    }

    /// A `POST` with somebody's own token: reviews of what they may do.
    pub async fn ask_as(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.http.post(self.url(path)).bearer_auth(token).json(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "POST {path}: {status}: {}", answer.text().await?);
        Ok(answer.json().await?)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), self.url(path)).bearer_auth(ADMIN);
        if let Some(body) = body {
            let kind = match method {
                reqwest::Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            request = request.header("content-type", kind).body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{method} {path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))
    }
}

/// A kubeconfig with a context, a cluster and a user for each `(name, where it is, token)`.
pub fn kubeconfig(contexts: &[(&str, SocketAddr, &str)], ca: &Path) -> String {
    let each = |make: fn(&str, SocketAddr, &str, &Path) -> Value| -> Vec<Value> {
        contexts.iter().map(|(name, address, token)| make(name, *address, token, ca)).collect()
    };
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": contexts.first().map(|(name, ..)| name),
        "contexts": each(|name, _, _, _| json!({ "name": name, "context": { "cluster": name, "user": name } })),
        "clusters": each(|name, address, _, ca| {
            let server = format!("https://{address}");
            json!({ "name": name, "cluster": { "server": server, "certificate-authority": ca } })
        }),
        "users": each(|name, _, token, _| json!({ "name": name, "user": { "token": token } })),
    });
    config.to_string()
}

async fn wait_ready(server: &mut Process, address: SocketAddr, ca: &Path) -> Result<reqwest::Client> {
    let url = format!("https://{address}/readyz");
    let probe = async || {
        let http = client(&fs::read(ca)?)?;
        let answer = http.get(&url).bearer_auth(ADMIN).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(http)
    };
    server.ready(PATIENCE.max(Duration::from_secs(120)), probe).await
}

fn client(ca: &[u8]) -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem_bundle(ca)?;
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy();
    Ok(builder.tls_certs_only(ca).build()?)
}

fn folder(object: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = text(&object["apiVersion"]).context("no apiVersion")?;
    let kind = text(&object["kind"]).context("no kind")?.to_lowercase();
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    let root = if version.contains('/') { "apis" } else { "api" };
    Ok(match text(&object["metadata"]["namespace"]) {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{version}/{plural}"),
    })
}

fn path(object: &Value) -> Result<String> {
    let name = object["metadata"]["name"].as_str().context("no name")?;
    Ok(format!("{}/{name}", folder(object)?))
}
