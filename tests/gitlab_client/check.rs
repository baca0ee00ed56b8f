//! The check of the access token.

use switchyard::{
    gitlab::Scope,
    model::{Finding, Severity},
};
use switchyard_lab::gitlab::{Config, Fault, GraphqlMode, Kind, Match, Outage, Role, TokenSpec};

use crate::{Bench, SCOPES};

fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|f| f.severity).max().unwrap()
}

#[track_caller]
fn find(findings: &[Finding], severity: Severity, text: &str) {
    let found = findings.iter().find(|f| f.what.contains(text)).unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(found.severity, severity, "{findings:#?}");
    assert_eq!(found.mend.is_empty(), severity == Severity::Ok, "{findings:#?}");
}

#[tokio::test]
async fn a_good_token_is_praised_and_nothing_is_changed() {
    let bench = Bench::new();
    bench.runner("blue", &["runner-a"]);
    let findings = bench.client.check().await;
    assert_eq!(worst(&findings), Severity::Ok, "{findings:#?}");
    find(&findings, Severity::Ok, "GitLab accepts the access token");
    find(&findings, Severity::Ok, "read_api, manage_runner");
    find(&findings, Severity::Ok, "GitLab 19.4.0-ee");
    find(&findings, Severity::Ok, "complexity limit 300");
    find(&findings, Severity::Ok, "the runners of the instance can be listed");
    assert!(bench.admin().changes().is_empty());

    let broad = bench.client(TokenSpec::admin("broad", &["api"]), |_| {});
    assert_eq!(worst(&broad.check().await), Severity::Ok);
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let bench = Bench::new();
    let reader = bench.client(TokenSpec::admin("reader", &["read_api"]), |_| {});
    find(&reader.check().await, Severity::Error, "lacks the scope manage_runner");
    let writer = bench.client(TokenSpec::admin("writer", &["manage_runner"]), |_| {});
    let findings = writer.check().await;
    assert_eq!(worst(&findings), Severity::Error, "{findings:#?}");
}

#[tokio::test]
async fn a_token_that_is_revoked_or_expires_soon_is_told() {
    let bench = Bench::new();
    let old = bench.client(TokenSpec { revoked: true, ..TokenSpec::admin("old", &SCOPES) }, |_| {});
    let findings = old.check().await;
    find(&findings, Severity::Error, "does not accept the access token");
    assert_eq!(findings.len(), 1, "nothing else is worth asking");
    let expires_at = Some(bench.admin().now() + jiff::SignedDuration::from_hours(5 * 24));
    let soon = bench.client(TokenSpec { expires_at, ..TokenSpec::admin("soon", &SCOPES) }, |_| {});
    find(&soon.check().await, Severity::Warning, "expires on");
}

#[tokio::test]
async fn a_scope_that_cannot_be_seen_is_an_error() {
    let bench = Bench::new();
    let group = bench.admin().create_group("acme");
    let user = || TokenSpec::user("user", &SCOPES).in_group(group, Role::Owner);
    let in_group = bench.client(user(), |s| s.scope = Scope::Group("acme".to_owned()));
    assert_eq!(worst(&in_group.check().await), Severity::Ok);
    let everywhere = bench.client(user(), |_| {});
    find(&everywhere.check().await, Severity::Error, "the runners of the instance cannot be listed");
    let elsewhere = bench.client(user(), |s| s.scope = Scope::Group("nowhere".to_owned()));
    find(&elsewhere.check().await, Severity::Error, "group nowhere does not exist or is not visible");
}

#[tokio::test]
async fn refused_graphql_is_a_warning_and_an_outage_an_error() {
    let bench = Bench::new();
    bench.admin().graphql(GraphqlMode::Off(403));
    let findings = bench.client.check().await;
    find(&findings, Severity::Warning, "GraphQL is refused");
    find(&findings, Severity::Ok, "the runners of the instance can be listed");

    bench.admin().fault(Fault::new(Match::any(), Kind::BadGateway));
    let findings = bench.client.check().await;
    find(
        &findings,
        Severity::Error,
        "GitLab cannot be asked: looking at the access token: GitLab answered 502",
    );
    bench.admin().outage(Outage::Refuse);
    let findings = bench.client.check().await;
    assert_eq!((findings.len(), worst(&findings)), (1, Severity::Error), "{findings:#?}");
}

#[tokio::test]
async fn an_old_gitlab_is_a_warning_and_a_token_that_cannot_see_itself_too() {
    let config = Config { version: "16.11.2".to_owned(), ..Config::default() };
    let bench = Bench::with(config, TokenSpec::admin("switchyard", &SCOPES), |_| {});
    let blind = Kind::Status { status: 404, body: r#"{"message":"404 Not found"}"#.to_owned() };
    bench.admin().fault(Fault::new(Match::path("GET", "personal_access_tokens"), blind));
    let findings = bench.client.check().await;
    find(&findings, Severity::Warning, "GitLab 16.11.2 is older than 17.9");
    find(&findings, Severity::Warning, "the scopes of the access token cannot be seen");
    find(&findings, Severity::Ok, "the runners of the instance can be listed");
}
