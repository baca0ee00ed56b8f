//! Incidents with severity and timeline, who may write them, and the alert endpoint.

use serde_json::{Value, json};
use switchyard_lab::gitlab::{Role, Severity, TokenSpec};

use crate::client::{Client, start};

#[tokio::test]
async fn incidents_and_alerts_are_found_again() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let project = admin.project();
    let client = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("root", &["api"])));
    let base = format!("/projects/{}/issues", project.id);
    let body = json!({ "title": "blue is dead", "issue_type": "incident", "labels": "switchyard,rnd" });
    let created = client.post(&base, body).await;
    assert_eq!((created.status, &created.json()["iid"]), (201, &json!(1)));
    let found = client.get(&format!("{base}?labels=switchyard&state=opened")).await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(client.post(&format!("{base}/1/notes"), json!({ "body": "moved" })).await.status, 201);
    client.put(&format!("{base}/1"), json!({ "state_event": "close" })).await;
    assert_eq!(client.get(&format!("{base}?state=opened")).await.json(), json!([]));
    assert_eq!(admin.issues()[0].notes, ["moved"]);

    let url = format!("{}/rnd/canary/alerts/notify/switchyard/0123.json", gitlab.url());
    let notify = async |key: &str, body: Value| {
        reqwest::Client::new().post(&url).bearer_auth(key).json(&body).send().await.unwrap().status().as_u16()
    };
    let firing = json!({ "title": "blue is dead", "fingerprint": "f1" });
    assert_eq!(notify("wrong", firing.clone()).await, 401);
    assert_eq!(notify("alert-key", firing.clone()).await, 200);
    assert_eq!(notify("alert-key", firing).await, 200);
    let over = json!({ "title": "x", "fingerprint": "f1", "end_time": "2026-01-01T00:00:00Z" });
    assert_eq!(notify("alert-key", over).await, 200);
    let alerts = admin.alerts();
    assert_eq!((alerts.len(), alerts[0].events, alerts[0].resolved), (1, 2, true));
}

/// REST by quick actions, GraphQL by mutations; both end in the same incident.
#[tokio::test]
async fn incidents_have_a_severity_and_a_timeline() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let project = admin.project();
    let client = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("root", &["api"])));
    let base = format!("/projects/{}/issues", project.id);
    let body =
        json!({ "title": "blue is dead", "issue_type": "incident", "description": "why\n/severity high" });
    let created = client.post(&base, body).await.json();
    assert_eq!((&created["severity"], &created["description"]), (&json!("HIGH"), &json!("why")));

    let note = json!({ "body": "/timeline tag moved | 2026-01-02 03:04" });
    assert_eq!(client.post(&format!("{base}/1/notes"), note).await.status, 202);
    let create = "mutation($at: Time!, $incident: IssueID!, $tags: [String!]) { timelineEventCreate(input: {
        incidentId: $incident, note: \"name switched\", occurredAt: $at, timelineEventTagNames: $tags }) {
        errors timelineEvent { note occurredAt timelineEventTags { nodes { name } } } } }";
    let incident = format!("gid://gitlab/Issue/{}", created["id"]);
    let event = async |tags: &[&str]| {
        let variables = json!({ "at": "2026-01-02T03:03:00Z", "incident": incident, "tags": tags });
        client.graphql(create, variables).await.json()["data"]["timelineEventCreate"].clone()
    };
    let made = event(&["Impact mitigated"]).await;
    assert_eq!(
        made["timelineEvent"],
        json!({ "note": "name switched", "occurredAt": "2026-01-02T03:03:00Z",
                "timelineEventTags": { "nodes": [{ "name": "Impact mitigated" }] } })
    );
    let refused = event(&["No such tag"]).await;
    assert_eq!(
        (&refused["timelineEvent"], refused["errors"].as_array().map(Vec::len)),
        (&Value::Null, Some(1))
    );

    let judge = "mutation { issueSetSeverity(input: { projectPath: \"rnd/canary\", iid: \"1\",
        severity: CRITICAL }) { errors issue { severity } } }";
    let judged = client.graphql(judge, json!({})).await.json();
    assert_eq!(
        judged["data"]["issueSetSeverity"],
        json!({ "errors": [], "issue": { "severity": "CRITICAL" } })
    );
    let query = "query($incident: IssueID!) { project(fullPath: \"rnd/canary\") {
        issue(iid: \"1\") { type severity }
        incidentManagementTimelineEvents(incidentId: $incident) { nodes { note } } } }";
    let seen = client.graphql(query, json!({ "incident": incident })).await.json()["data"]["project"].clone();
    assert_eq!(seen["issue"], json!({ "type": "INCIDENT", "severity": "CRITICAL" }));
    let story = json!([{ "note": "name switched" }, { "note": "tag moved" }]);
    assert_eq!(seen["incidentManagementTimelineEvents"]["nodes"], story, "in the order of what happened");
    let row = &admin.issues()[0];
    assert_eq!((row.severity, row.timeline.len(), row.notes.len()), (Severity::Critical, 2, 0));
}

#[tokio::test]
async fn the_role_decides_what_becomes_of_an_incident() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let project = admin.project().id;
    let base = format!("/projects/{project}/issues");
    let member = |role| TokenSpec::user("m", &["api"]).in_project(project, role);
    // issue, incident, list, note, close; then whether severity and timeline took
    let cases = [
        (TokenSpec::admin("root", &["api"]), [201, 201, 200, 201, 200], (true, true)),
        (member(Role::Developer), [201, 201, 200, 201, 200], (true, true)),
        (member(Role::Reporter), [201, 201, 200, 201, 200], (true, false)),
        (member(Role::Guest), [201, 403, 200, 201, 403], (false, false)),
        (TokenSpec::user("stranger", &["api"]), [404, 404, 404, 404, 404], (false, false)),
        (
            TokenSpec { auditor: true, ..TokenSpec::user("auditor", &["api"]) },
            [403, 403, 200, 403, 403],
            (false, false),
        ),
        (
            TokenSpec::user("reads", &["read_api"]).in_project(project, Role::Maintainer),
            [403, 403, 200, 403, 403],
            (false, false),
        ),
    ];
    let root = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("root", &["api"])));
    for (spec, expected, (judges, tells)) in cases {
        let name = format!("{} {:?} {:?}", spec.name, spec.projects.values().next(), spec.scopes);
        let incident = root.post(&base, json!({ "title": "x", "issue_type": "incident" })).await.json();
        let of = format!("{base}/{}", incident["iid"]);
        let client = Client::new(&gitlab, &admin.create_token(spec));
        let body = json!({ "body": "seen\n/severity low\n/timeline died" });
        let seen = [
            client.post(&base, json!({ "title": "x" })).await.status,
            client.post(&base, json!({ "title": "x", "issue_type": "incident" })).await.status,
            client.get(&base).await.status,
            client.post(&format!("{of}/notes"), body).await.status,
            client.put(&of, json!({ "state_event": "close" })).await.status,
        ];
        assert_eq!(seen, expected, "{name}");
        let row = admin.issues().into_iter().find(|i| json!(i.id) == incident["id"]).unwrap();
        assert_eq!((row.severity == Severity::Low, row.timeline.len() == 1), (judges, tells), "{name}");
        assert!(row.notes.iter().all(|note| note == "seen"), "{name}: {:?}", row.notes);
    }
}
