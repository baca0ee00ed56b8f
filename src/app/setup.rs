//! From a configuration to clients.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::Url;
use tokio::sync::watch;

use super::{
    poll::Alertmanagers,
    tokens::{TokenFiles, TokenKey},
};
use crate::{
    alertmanager,
    config::{Config, DnsProvider, Scope},
    decide::judges,
    dns, gitlab,
    http::{Access, Token},
    metrics::{Docs, Metrics, Operation, RequestLabels},
    model::{SignedDuration, Topology},
    prometheus,
    reconcile::Setup,
    world::Live,
};

/// Makes `ring` the process's only source of cryptography. A second call changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Everything that a reload replaces.
pub(super) struct Built {
    setup: Setup<Live>,
    access: Access,
    tokens: TokenFiles,
    alertmanagers: Alertmanagers,
    retention: SignedDuration,
    fixed: Fixed,
}

/// What a reload cannot change, because it is held open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    store_url: String,
    lease: Duration,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        use secrecy::ExposeSecret;
        Self { store_url: config.store.url.expose_secret().to_owned(), lease: config.store.lease }
    }

    /// Says what needs a restart.
    pub(super) fn same(&self, config: &Config) -> Result<(), String> {
        if *self == Self::of(config) {
            Ok(())
        } else {
            Err("store.url or store.lease: the store is open; restart Switchyard to change it".to_owned())
        }
    }
}

/// Where each part of the process learns of a reload.
pub(super) struct Channels {
    pub(super) setup: watch::Sender<Arc<Setup<Live>>>,
    pub(super) topology: watch::Sender<Arc<Topology>>,
    pub(super) access: watch::Sender<Arc<Access>>,
    pub(super) tokens: watch::Sender<Arc<TokenFiles>>,
    pub(super) alertmanagers: watch::Sender<Arc<Alertmanagers>>,
    pub(super) retention: watch::Sender<SignedDuration>,
    pub(super) fixed: Fixed,
}

impl Channels {
    pub(super) fn new(built: Built) -> Self {
        let Built { setup, access, tokens, alertmanagers, retention, fixed } = built;
        Self {
            topology: watch::Sender::new(setup.topology.clone()),
            setup: watch::Sender::new(Arc::new(setup)),
            access: watch::Sender::new(Arc::new(access)),
            tokens: watch::Sender::new(Arc::new(tokens)),
            alertmanagers: watch::Sender::new(Arc::new(alertmanagers)),
            retention: watch::Sender::new(retention),
            fixed,
        }
    }

    pub(super) fn replace(&self, built: Built) {
        let Built { setup, access, tokens, alertmanagers, retention, fixed: _ } = built;
        // First: who watches the files must not put back what it has read of them before.
        self.tokens.send_replace(Arc::new(tokens));
        // Before those who take requests know of it: a pass answers what is asked of fleets that it does not know.
        let topology = setup.topology.clone();
        self.setup.send_replace(Arc::new(setup));
        self.topology.send_replace(topology);
        self.access.send_replace(Arc::new(access));
        self.alertmanagers.send_replace(Arc::new(alertmanagers));
        self.retention.send_replace(retention);
    }
}

/// Makes every client. Contacts nobody.
pub(super) fn build(config: &Config, metrics: &Arc<Metrics>) -> Result<Built, super::Error> {
    let client = |what: &'static str| {
        move |source: Box<dyn std::error::Error + Send + Sync>| super::Error::Client(what, source)
    };
    let topology = Arc::new(config.topology.clone());
    let world = Live {
        gitlab: gitlab(config, metrics).map_err(|e| client("GitLab")(e.into()))?,
        wanted: gitlab::Wanted::of(&topology),
        dns: providers(config).map_err(|e| client("DNS")(e.into()))?,
        prometheus: prometheus(config).map_err(|e| client("Prometheus")(e.into()))?,
        queries: config.queries.clone(),
    };
    let alertmanagers = alertmanagers(config).map_err(|e| client("Alertmanager")(e.into()))?;
    metrics.docs.clear();
    let url = format!("{}/docs", config.web.url.as_str().trim_end_matches('/'));
    metrics.docs.get_or_create(&Docs { url }).set(1);
    let access = Access {
        webhook: Token::known(config.webhook.token.as_ref()),
        actions: Token::known(config.api.token.as_ref()),
        reads: Token::known(config.api.read_token.as_ref()),
        max_body: config.webhook.max_body,
        runbook_url: config.web.runbook_url.clone(),
    };
    let setup = Setup {
        topology,
        period: std(config.pace.period),
        drain_look: std(config.pace.period).max(config.gitlab.timeout),
        concurrency: config.gitlab.concurrency,
        world,
        judges,
    };
    let tokens = TokenFiles::from_iter([
        (TokenKey::Webhook, config.webhook.token_file.clone()),
        (TokenKey::Actions, config.api.token_file.clone()),
        (TokenKey::Reads, config.api.read_token_file.clone()),
        (TokenKey::Gitlab, config.gitlab.token_file.clone()),
        (TokenKey::Prometheus, config.prometheus.token_file.clone()),
        (TokenKey::Alertmanager, config.alertmanager.token_file.clone()),
    ]);
    Ok(Built {
        setup,
        access,
        tokens,
        alertmanagers,
        retention: config.store.retention,
        fixed: Fixed::of(config),
    })
}

/// The configuration allows no negative duration.
fn std(duration: SignedDuration) -> Duration {
    duration.unsigned_abs()
}

/// The client for GitLab; every request is counted.
pub(crate) fn gitlab(config: &Config, metrics: &Arc<Metrics>) -> Result<gitlab::Client, gitlab::Error> {
    let metrics = metrics.clone();
    let observer: gitlab::Observer = Arc::new(move |event: &gitlab::RequestEvent| {
        let operation = event.operation.to_owned();
        let labels = RequestLabels { operation: operation.clone(), code: event.code.clone() };
        metrics.gitlab_requests.get_or_create(&labels).inc();
        let duration = event.duration.as_secs_f64();
        metrics.gitlab_request_duration.get_or_create(&Operation { operation }).observe(duration);
        if let Some(remaining) = event.rate_limit_remaining {
            metrics
                .gitlab_rate_limit_remaining
                .get_or_create(&[])
                .set(i64::try_from(remaining).unwrap_or(i64::MAX));
        }
    });
    gitlab::Client::new(gitlab_settings(config), observer)
}

pub(crate) fn gitlab_settings(config: &Config) -> gitlab::Settings {
    let config = &config.gitlab;
    gitlab::Settings {
        url: config.url.to_string(),
        token: config.token.clone(),
        scope: match &config.scope {
            Scope::Instance => gitlab::Scope::Instance,
            Scope::Group(path) => gitlab::Scope::Group(path.clone()),
            Scope::Project(path) => gitlab::Scope::Project(path.clone()),
        },
        connect_timeout: config.timeout.min(Duration::from_secs(5)),
        request_timeout: config.timeout,
        concurrency: config.concurrency,
        ca_pem: config.ca.as_ref().map(|pem| pem.clone().into_bytes()),
    }
}

pub(crate) fn prometheus(config: &Config) -> Result<prometheus::Servers, prometheus::Error> {
    let config = &config.prometheus;
    prometheus::Servers::new(
        &config.urls,
        config.timeout,
        config.concurrency,
        config.token.as_ref(),
        config.ca.as_deref(),
    )
}

pub(super) fn alertmanagers(config: &Config) -> Result<Alertmanagers, alertmanager::Error> {
    let period = std(config.alertmanager.poll);
    let settle = config.alertmanager.settle;
    Ok(Alertmanagers { clients: alertmanager_clients(config)?, period, settle })
}

pub(crate) fn alertmanager_clients(
    config: &Config,
) -> Result<Vec<alertmanager::Client>, alertmanager::Error> {
    let config = &config.alertmanager;
    let client = |url: &Url| {
        alertmanager::Client::new(url, config.timeout, config.token.as_ref(), config.ca.as_deref())
    };
    config.urls.iter().map(client).collect()
}

pub(crate) fn providers(config: &Config) -> Result<BTreeMap<String, dns::Provider>, dns::Error> {
    config
        .dns
        .iter()
        .map(|(name, provider)| {
            let DnsProvider::Rfc2136(provider) = provider;
            let client = dns::Rfc2136::new(dns::Settings {
                server: provider.server.to_string(),
                zone: provider.zone.clone(),
                tsig_name: provider.tsig_name.clone().unwrap_or_default(),
                tsig_algorithm: provider.tsig_algorithm.map_or("hmac-sha256", |a| a.as_str()).to_owned(),
                tsig_secret: provider.tsig_secret.clone(),
                owner: provider.owner.clone(),
                verify: provider.verify.iter().map(ToString::to_string).collect(),
                connect_timeout: provider.timeout,
                reply_timeout: provider.timeout,
            })?;
            Ok((name.clone(), dns::Provider::Rfc2136(client)))
        })
        .collect()
}
