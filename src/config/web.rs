//! The file of `--web.config.file`: the format of Prometheus' exporter-toolkit.
//!
//! What the toolkit takes and Switchyard cannot do is a problem of its own, never silently ignored. Nothing of what
//! the file holds is repeated: keys and passwords stand in it.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

use config::{Map, Value, ValueKind};
use secrecy::SecretString;

use super::{
    Problems,
    problem::Complaint,
    values::{List, one_of},
    walk::{Setting, Table, Walk, kind_of},
};

/// The cipher suites of TLS 1.2 that there are, by the names that Go uses. Those of TLS 1.3 are always on, as in Go.
pub const CIPHER_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/// The elliptic curves that there are, by the names that Go uses.
pub const CURVES: [&str; 3] = ["X25519", "CurveP256", "CurveP384"];
/// A password of a higher cost takes seconds to check.
const HIGHEST_COST: u32 = 16;

/// What the file asks for.
#[derive(Debug, Clone)]
pub struct WebFile {
    /// How the server proves who it is; none for clear text.
    pub tls: Option<WebTls>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Headers for every answer.
    pub headers: BTreeMap<String, String>,
    /// bcrypt hashes by user.
    pub users: BTreeMap<String, SecretString>,
}

/// `tls_server_config`
#[derive(Debug, Clone)]
pub struct WebTls {
    /// Certificates, PEM, the server's own first.
    pub cert: String,
    /// The key of the first certificate, PEM.
    pub key: SecretString,
    /// Which certificate is wanted of clients.
    pub client_auth: ClientAuth,
    /// The authorities of clients' certificates, PEM.
    pub client_ca: Option<String>,
    /// One of these names must stand in a client's certificate; empty: any.
    pub client_allowed_sans: Vec<String>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// The suites of TLS 1.2 in order of preference, among [`CIPHER_SUITES`]; empty: all.
    pub cipher_suites: Vec<String>,
    /// The curves in order of preference, among [`CURVES`]; empty: all.
    pub curves: Vec<String>,
    /// Whether the server's order of suites counts, and not the client's.
    pub prefer_server: bool,
}

/// Which certificate is wanted of clients; the words of the Go library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `NoClientCert`: none.
    No,
    /// `RequestClientCert`: one is asked for, and nothing about it counts.
    Request,
    /// `RequireAnyClientCert`: one must be shown, whoever signed it.
    RequireAny,
    /// `VerifyClientCertIfGiven`: one that is shown must be signed by the authority.
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: one must be shown, signed by the authority.
    RequireAndVerify,
}

impl Setting for ClientAuth {
    const KIND: &'static str = "a client authentication policy";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [
            ("NoClientCert", Self::No),
            ("RequestClientCert", Self::Request),
            ("RequireAnyClientCert", Self::RequireAny),
            ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
            ("RequireAndVerifyClientCert", Self::RequireAndVerify),
            // What the toolkit called it first.
            ("RequireClientCert", Self::RequireAny),
        ];
        one_of("client authentication policy", &String::read(value)?, &all)
    }
}

struct Version(u8);

impl Setting for Version {
    const KIND: &'static str = "TLS12 or TLS13";
    fn read(value: &Value) -> Result<Self, Complaint> {
        match String::read(value)?.as_str() {
            "TLS12" => Ok(Self(12)),
            "TLS13" => Ok(Self(13)),
            old @ ("TLS10" | "TLS11") => Err(Complaint::new(
                format!("{old} is not spoken: it is broken, and the TLS library (rustls) leaves it out"),
                "set it to TLS12 or TLS13",
            )),
            other => Err(Complaint::new(format!("{other:?} is no TLS version"), "set it to TLS12 or TLS13")),
        }
    }
}

/// The content of a file when it was read; none when it could not be.
pub type Contents = Vec<(std::path::PathBuf, Option<Vec<u8>>)>;

/// Reads the file and those that it names. The contents are what was read, also when there are problems: when one of
/// them changes, it is worth to read again.
pub fn load_web(path: &Path) -> (Result<WebFile, Problems>, Contents) {
    let files = Files { shown: path.display().to_string(), read: RefCell::default() };
    let loaded = files.load(path);
    (loaded, files.read.into_inner())
}

/// The same of a text that stands in `path`; the files that it names are read.
///
/// # Errors
/// All that is wrong with it.
pub fn read_web(text: &str, path: &Path) -> Result<WebFile, Problems> {
    Files { shown: path.display().to_string(), read: RefCell::default() }.parse(text, path)
}

struct Files {
    shown: String,
    read: RefCell<Contents>,
}

impl Files {
    fn read(&self, path: &Path) -> Result<String, String> {
        let content = fs::read(path);
        self.read.borrow_mut().push((path.to_owned(), content.as_ref().ok().cloned()));
        let content = content.map_err(|error| super::sections::unreadable(&error, path))?;
        String::from_utf8(content).map_err(|_| format!("{} is not text", path.display()))
    }

    fn load(&self, path: &Path) -> Result<WebFile, Problems> {
        let mend = "name the file with --web.config.file";
        let text = self.read(path).map_err(|wrong| Problems::one(&self.shown, wrong, mend))?;
        self.parse(&text, path)
    }

    fn parse(&self, text: &str, path: &Path) -> Result<WebFile, Problems> {
        // The library's own text shows the lines around.
        let root = serde_saphyr::from_str::<Option<Map<String, Value>>>(text).map_err(|error| {
            let place = error
                .location()
                .map_or(String::new(), |at| format!(" at line {}, column {}", at.line(), at.column()));
            let wrong = format!("is not YAML with keys of texts{place}");
            Problems::one(&self.shown, wrong, "mend the syntax: nothing else was looked at")
        })?;
        let walk = Walk::new(path.parent().unwrap_or(Path::new("")).to_owned());
        let file = self.sections(&walk, walk.root(without_nothing(root.unwrap_or_default())));
        let (mut problems, ..) = walk.finish();
        problems.iter_mut().for_each(|problem| problem.path = format!("{}: {}", self.shown, problem.path));
        match file {
            Some(file) if problems.is_empty() => Ok(file),
            _ => Err(Problems(problems)),
        }
    }

    fn sections(&self, walk: &Walk, root: Table<'_>) -> Option<WebFile> {
        let tls = root.has("tls_server_config");
        let table = root.table("tls_server_config");
        let tls = if tls { self.tls(walk, &table).map(Some) } else { Some(None) };
        let http = root.table("http_server_config");
        let http2 = http.default("http2", "true");
        let headers = headers(&http.table("headers"));
        let users = users(&root);
        if root.raw("rate_limit", "nothing").is_some() {
            let mend = "remove it; --web.max-connections limits what a client can take";
            root.problem("rate_limit", "is not supported: it would turn Alertmanager away in a storm", mend);
        }
        Some(WebFile { tls: tls?, http2, headers, users })
    }

    /// The text of `key`, or of the file that `file_key` names.
    fn pem(
        &self,
        walk: &Walk,
        table: &Table<'_>,
        key: &'static str,
        file_key: &'static str,
        holds: &str,
    ) -> Option<String> {
        let inline: Option<String> = table.optional(key);
        let file: Option<std::path::PathBuf> = table.optional(file_key);
        let (named, text) = match (inline, file) {
            (Some(_), Some(_)) => {
                table.problem(key, format!("stands beside {file_key}"), "use one of them");
                return None;
            }
            (Some(text), None) => (key, text),
            (None, Some(file)) => match self.read(&walk.dir.join(file)) {
                Ok(text) => (file_key, text),
                Err(wrong) => {
                    table.problem(file_key, wrong, "put it there as PEM");
                    return None;
                }
            },
            (None, None) => return None,
        };
        if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(holds)) {
            return Some(text);
        }
        table.problem(named, format!("holds no {}", holds.to_lowercase()), "write it as PEM");
        None
    }

    fn tls(&self, walk: &Walk, table: &Table<'_>) -> Option<WebTls> {
        let cert = self.pem(walk, table, "cert", "cert_file", "CERTIFICATE");
        let key = self.pem(walk, table, "key", "key_file", "PRIVATE KEY");
        for (key, file_key) in [("cert", "cert_file"), ("key", "key_file")] {
            if !table.has(key) && !table.has(file_key) {
                table.problem(file_key, "is missing", format!("name the PEM file, or give {key}"));
            }
        }
        let client_auth = table.default("client_auth_type", "NoClientCert");
        let client_ca = self.pem(walk, table, "client_ca", "client_ca_file", "CERTIFICATE");
        let ca_given = table.has("client_ca") || table.has("client_ca_file");
        let verifies = matches!(client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
        if ca_given && client_auth == ClientAuth::No {
            let mend = "set it to RequireAndVerifyClientCert";
            table.problem("client_auth_type", "is NoClientCert beside an authority for clients", mend);
        }
        if verifies && !ca_given {
            let mend = "name the authority that signs clients' certificates";
            table.problem("client_ca_file", "is missing", mend);
        }
        let client_allowed_sans = words(table, "client_allowed_sans");
        if !client_allowed_sans.is_empty() && !verifies {
            let mend = "set client_auth_type to RequireAndVerifyClientCert, or anybody can claim a name";
            table.problem(
                "client_allowed_sans",
                "says nothing about a certificate that is not verified",
                mend,
            );
        }
        for san in client_allowed_sans.iter().filter(|san| san.contains('@') && !san.contains("://")) {
            table.problem(
                "client_allowed_sans",
                format!("{san:?} is an e-mail address, which cannot be compared"),
                "use a DNS name, an IP address or a URI",
            );
        }
        let (min, max): (Version, Version) =
            (table.default("min_version", "TLS12"), table.default("max_version", "TLS13"));
        if min.0 > max.0 {
            table.problem("max_version", "is lower than min_version", "leave it out");
        }
        let mut cipher_suites = words(table, "cipher_suites");
        for suite in &cipher_suites {
            if !CIPHER_SUITES.contains(&suite.as_str()) && !TLS13_SUITES.contains(&suite.as_str()) {
                let mend = format!("use {}", CIPHER_SUITES.join(", "));
                table.problem("cipher_suites", format!("{suite:?} is no suite that rustls has"), mend);
            }
        }
        let some = !cipher_suites.is_empty();
        cipher_suites.retain(|suite| CIPHER_SUITES.contains(&suite.as_str()));
        let curves = words(table, "curve_preferences");
        for curve in curves.iter().filter(|curve| !CURVES.contains(&curve.as_str())) {
            let mend = format!("use {}", CURVES.join(", "));
            table.problem("curve_preferences", format!("{curve:?} is no curve that rustls has"), mend);
        }
        let prefer_server = table.default("prefer_server_cipher_suites", "true");
        Some(WebTls {
            cert: cert?,
            key: key?.into(),
            client_auth,
            client_ca,
            client_allowed_sans,
            // A list of TLS 1.3 suites alone leaves nothing that TLS 1.2 could use.
            tls12: min.0 == 12 && !(some && cipher_suites.is_empty()),
            tls13: max.0 == 13,
            cipher_suites,
            curves,
            prefer_server,
        })
    }
}

fn words(table: &Table<'_>, key: &'static str) -> Vec<String> {
    table.optional::<List>(key).map(|List(words)| words).unwrap_or_default()
}

/// A key without a value is as good as absent, as in the toolkit.
fn without_nothing(table: Map<String, Value>) -> Vec<(String, Value)> {
    table
        .into_iter()
        .filter(|(_, value)| value.kind != ValueKind::Nil)
        .map(|(key, mut value)| {
            if let ValueKind::Table(table) = value.kind {
                value.kind = ValueKind::Table(without_nothing(table).into_iter().collect());
            }
            (key, value)
        })
        .collect()
}

fn headers(table: &Table<'_>) -> BTreeMap<String, String> {
    const HEADERS: [(&str, &[&str]); 5] = [
        ("Strict-Transport-Security", &[]),
        ("X-Content-Type-Options", &["nosniff"]),
        ("X-Frame-Options", &["deny", "sameorigin"]),
        ("X-XSS-Protection", &[]),
        ("Content-Security-Policy", &[]),
    ];
    let mut headers = BTreeMap::new();
    for (name, allowed) in HEADERS {
        let Some(value) = table.raw(name, "a text") else { continue };
        let text = match &value.kind {
            ValueKind::Table(_) | ValueKind::Array(_) => {
                table.problem(name, format!("is {}", kind_of(value)), "set it to a text");
                continue;
            }
            kind => kind.to_string(),
        };
        if text.is_empty() {
            continue;
        }
        if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
            table.problem(name, format!("cannot be {text:?}"), format!("use {}", allowed.join(" or ")));
        } else if text.chars().any(char::is_control) {
            table.problem(name, "has several lines", "write it on one line");
        } else {
            headers.insert(name.to_owned(), text);
        }
    }
    headers
}

fn users(root: &Table<'_>) -> BTreeMap<String, SecretString> {
    const MEND: &str = "hash the password with: htpasswd -nBC 10 USER";
    let Some(value) = root.raw("basic_auth_users", "a table of users") else { return BTreeMap::new() };
    let ValueKind::Table(table) = &value.kind else {
        root.problem("basic_auth_users", format!("is {}", kind_of(value)), "write it as user: hash");
        return BTreeMap::new();
    };
    let mut users = BTreeMap::new();
    for (user, value) in table {
        let complain = |wrong: String| {
            root.problem("basic_auth_users", format!("the user {user:?} {wrong}"), MEND);
        };
        let ValueKind::String(hash) = &value.kind else {
            complain("has no text as hash".to_owned());
            continue;
        };
        if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
            complain("has a name that no client can send".to_owned());
            continue;
        }
        match hash.parse::<bcrypt::HashParts>() {
            Err(_) => complain("has a hash that is not bcrypt's".to_owned()),
            Ok(parts) if !(4..=HIGHEST_COST).contains(&parts.get_cost()) => {
                complain(format!("has a hash of cost {}, not 4 to {HIGHEST_COST}", parts.get_cost()));
            }
            Ok(_) => {
                users.insert(user.clone(), SecretString::from(hash.clone()));
            }
        }
    }
    users
}
