//! What the access token can and cannot do, in words for people.

use serde::Deserialize;

use super::{Client, Error, Scope, graphql::Failure, http::server_time};
use crate::model::{Finding, Severity};

/// The oldest GitLab that Switchyard's requests were written for.
const OLDEST: (u32, u32) = (17, 9);
/// A token that ends sooner than this is worth a warning, in days.
const SOON: i64 = 14;

#[derive(Debug, Deserialize)]
struct TokenSelf {
    #[serde(default)]
    scopes: Vec<String>,
    expires_at: Option<jiff::civil::Date>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

impl Client {
    /// Checks the token, GitLab's version, GraphQL and the scope. It changes nothing, and says so when GitLab cannot
    /// be reached at all.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.check_token().await {
            Ok(found) => findings.extend(found),
            Err(error) => {
                let stop = error.status().is_none_or(|status| status == 401 || status >= 500);
                findings.push(self.token_trouble(&error));
                if stop {
                    return findings;
                }
            }
        }
        findings.push(self.check_version().await);
        findings.push(self.check_graphql().await);
        findings.push(self.check_scope().await);
        findings
    }

    async fn check_token(&self) -> Result<Vec<Finding>, Error> {
        let reply = self.http.get("token_self", &["v4", "personal_access_tokens", "self"], &[]).await?;
        let token: TokenSelf = reply.json()?;
        let mut findings = vec![Finding::ok("GitLab accepts the access token")];

        let has = |scope: &str| token.scopes.iter().any(|s| s == scope);
        let missing: Vec<&str> = if has("api") {
            Vec::new()
        } else {
            ["read_api", "manage_runner"].into_iter().filter(|scope| !has(scope)).collect()
        };
        findings.push(if missing.is_empty() {
            Finding::ok(format!("its scopes suffice: {}", token.scopes.join(", ")))
        } else {
            Finding::new(
                Severity::Error,
                format!("the access token lacks the scope {}", missing.join(" and ")),
                "create a token with the scopes read_api and manage_runner",
            )
        });

        let today = server_time(&reply.headers).map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date());
        if let Some((expires, today)) = token.expires_at.zip(today)
            && (expires - today).get_days() < i32::try_from(SOON).unwrap_or(i32::MAX)
        {
            findings.push(Finding::new(
                Severity::Warning,
                format!("the access token expires on {expires}"),
                "rotate it in time: without it nothing can be moved",
            ));
        }
        Ok(findings)
    }

    fn token_trouble(&self, error: &Error) -> Finding {
        let text = error.chain();
        match error.status() {
            Some(401) => Finding::new(
                Severity::Error,
                format!("GitLab does not accept the access token: {text}"),
                "create a new token with the scopes read_api and manage_runner",
            ),
            // Not every kind of token may look at itself.
            Some(400 | 403 | 404) => Finding::new(
                Severity::Warning,
                format!("the scopes of the access token cannot be seen: {text}"),
                "make sure that it has read_api and manage_runner",
            ),
            _ => Finding::new(
                Severity::Error,
                format!("GitLab cannot be asked: {text}"),
                "check the address, the network, the certificates and GitLab itself",
            ),
        }
    }

    async fn check_version(&self) -> Finding {
        let reply = self.http.get("version", &["v4", "version"], &[]).await;
        match reply.and_then(|reply| reply.json::<Version>()) {
            Ok(Version { version }) => {
                let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
                match parts.next().zip(parts.next()) {
                    Some(found) if found < OLDEST => Finding::new(
                        Severity::Warning,
                        format!("GitLab {version} is older than {}.{}", OLDEST.0, OLDEST.1),
                        "update GitLab, or try every way in a drill first",
                    ),
                    _ => Finding::ok(format!("GitLab {version}")),
                }
            }
            Err(error) => Finding::new(
                Severity::Warning,
                format!("the version of GitLab cannot be seen: {}", error.chain()),
                "nothing, if all else is well",
            ),
        }
    }

    async fn check_graphql(&self) -> Finding {
        match self.probe_graphql().await {
            Ok(Some(limit)) => Finding::ok(format!("GraphQL answers, complexity limit {limit}")),
            Ok(None) => Finding::ok("GraphQL answers"),
            Err(Failure::Error(error)) => Finding::new(
                Severity::Error,
                format!("GraphQL cannot be asked: {}", error.chain()),
                "look at GitLab: this would stop every reading",
            ),
            Err(Failure::Refused(why) | Failure::TooComplex(why)) => {
                let below = match &self.scope {
                    Scope::Group(path) => format!(
                        ", and nothing is moved unless runners are chosen by their numbers: REST leaves out what is below group {path}"
                    ),
                    Scope::Instance | Scope::Project(_) => String::new(),
                };
                Finding::new(
                    Severity::Warning,
                    format!("GraphQL is refused: {why}"),
                    format!(
                        "allow /api/graphql; until then REST is used, with two requests per runner{below}"
                    ),
                )
            }
        }
    }

    async fn check_scope(&self) -> Finding {
        let result = match self.probe_list().await {
            Err(Failure::Refused(_) | Failure::TooComplex(_)) => self.probe_rest().await,
            Err(Failure::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        match result {
            Ok(()) => Finding::ok(format!("the runners of {} can be listed", self.scope)),
            Err(error) => Finding::new(
                Severity::Error,
                format!("the runners of {} cannot be listed: {}", self.scope, error.chain()),
                match &self.scope {
                    Scope::Instance => "use the token of an administrator, or name a group or a project",
                    Scope::Group(_) => "check the path, and use the token of an Owner of the group",
                    Scope::Project(_) => "check the path, and use the token of a Maintainer of the project",
                },
            ),
        }
    }
}
