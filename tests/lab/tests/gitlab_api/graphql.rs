//! GraphQL: reads, limits, partial errors, mutations.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::{Value, json};
use switchyard_lab::gitlab::{GraphqlMode, RunnerSpec, TokenSpec};

use crate::client::{Client, Levels, levels, start};

fn gid(id: u64) -> String {
    format!("gid://gitlab/Ci::Runner/{id}")
}

const FLEET: &str = "query Fleet($after: String, $tags: [String!]) {
  runners(first: 100, after: $after, tagList: $tags) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id shortSha description runnerType status paused contactedAt tagList runUntagged locked accessLevel
      maintenanceNote
    }
  }
}";

#[tokio::test]
async fn a_page_shows_tags_contacts_and_managers() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a"]));
    gitlab.admin().heartbeat(blue.id, "s_blue");
    let query = "{ runners { nodes { id tagList status paused contactedAt accessLevel runnerType shortSha
        managers { nodes { id systemId status contactedAt version } } } } queryComplexity { score limit } }";
    let answer = client.graphql(query, json!({})).await.json();
    let row = &answer["data"]["runners"]["nodes"][0];
    assert_eq!(row["id"], json!(gid(blue.id)));
    assert_eq!(row["tagList"], json!(["runner-a"]));
    assert_eq!((&row["status"], &row["accessLevel"]), (&json!("ONLINE"), &json!("NOT_PROTECTED")));
    assert_eq!(row["runnerType"], "INSTANCE_TYPE");
    assert_eq!(row["shortSha"], json!(blue.token.trim_start_matches("glrt-t1_")[..8]));
    assert_eq!(row["managers"]["nodes"][0]["systemId"], "s_blue");
    assert!(row["contactedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(answer["data"]["queryComplexity"]["limit"], 300);
}

/// REST's `paused` hides health; GraphQL's status never does.
#[tokio::test]
async fn status_never_becomes_paused() {
    let (gitlab, client) = start();
    let blue =
        gitlab.admin().create_runner(RunnerSpec { paused: true, ..RunnerSpec::new("blue", &["a"]) }).id;
    gitlab.admin().heartbeat(blue, "s_1");
    gitlab.admin().advance(SignedDuration::from_hours(3));
    let query = "query($id: CiRunnerID!) { runner(id: $id) { status paused } }";
    let answer = client.graphql(query, json!({ "id": gid(blue) })).await.json();
    assert_eq!(answer, json!({ "data": { "runner": { "status": "OFFLINE", "paused": true } } }));
}

#[tokio::test]
async fn pages_go_on_behind_their_cursor() {
    let (gitlab, client) = start();
    let all = gitlab.admin().virtual_runners(250, |n| RunnerSpec::new(&format!("v{n}"), &["v"]));
    gitlab.admin().create_runner(RunnerSpec::new("other", &["w"]));
    let (mut seen, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let answer = client.graphql(FLEET, json!({ "after": after, "tags": ["v"] })).await.json();
        let page = &answer["data"]["runners"];
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_owned()));
        pages += 1;
        if pages == 1 {
            // A row that vanishes does not shift the pages behind the cursor.
            gitlab.admin().delete_runner(all.runners[150].id);
        }
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    seen.sort();
    seen.dedup();
    assert_eq!((pages, seen.len()), (3, 250));
    // However many are asked for, a page has a hundred.
    let greedy = client.graphql("{ runners(first: 500) { nodes { id } } }", json!({})).await.json();
    assert_eq!(greedy["data"]["runners"]["nodes"].as_array().map(Vec::len), Some(100));
}

/// Backward, and what a page knows of its neighbours.
#[tokio::test]
async fn pages_end_before_their_cursor() {
    let (gitlab, client) = start();
    let ids: Vec<u64> =
        (0..7).map(|n| gitlab.admin().create_runner(RunnerSpec::new(&format!("r{n}"), &["a"])).id).collect();
    let page = async |arguments: &str| {
        let query = format!(
            "{{ runners(sort: CREATED_ASC, {arguments}) {{ nodes {{ id }}
                pageInfo {{ startCursor endCursor hasPreviousPage hasNextPage }} }} }}"
        );
        let answer = client.graphql(&query, json!({})).await.json();
        let page = answer["data"]["runners"].clone();
        let seen: Vec<u64> = page["nodes"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .iter()
            .map(|n| n["id"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap())
            .collect();
        let info = page["pageInfo"].clone();
        (seen, info["hasPreviousPage"] == true, info["hasNextPage"] == true, info["startCursor"].clone())
    };
    let (seen, previous, next, cursor) = page("last: 3").await;
    assert_eq!((seen.as_slice(), previous, next), (&ids[4..], true, false));
    let (seen, previous, next, cursor) = page(&format!("last: 3, before: {cursor}")).await;
    assert_eq!((seen.as_slice(), previous, next), (&ids[1..4], true, true));
    // A row that vanishes does not shift the page before it.
    gitlab.admin().delete_runner(ids[1]);
    let (seen, previous, next, first) = page(&format!("last: 3, before: {cursor}")).await;
    assert_eq!((seen.as_slice(), previous, next), (&ids[..1], false, true));
    // Without `last` a page before a cursor starts at the very first row.
    assert_eq!(page(&format!("before: {cursor}, first: 1")).await.0, ids[..1]);
    assert_eq!(page(&format!("last: 100, after: {first}, before: {cursor}")).await.0, [0u64; 0]);
    let both = client.graphql("{ runners(first: 1, last: 1) { count } }", json!({})).await.json();
    let text = "Can only provide either `first` or `last`, not both";
    assert_eq!((&both["data"]["runners"], &both["errors"][0]["message"]), (&Value::Null, &json!(text)));
    // The page size is part of the price, on whichever side it is taken.
    let query = "{ runners(last: 10) { count nodes { id tagList } } queryComplexity { score } }";
    let answer = client.graphql(query, json!({})).await.json();
    assert_eq!(answer["data"]["queryComplexity"]["score"], 7);
}

#[tokio::test]
async fn runners_are_found_by_their_creator() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    admin.create_runner(RunnerSpec::new("lab", &["a"]));
    let [first, second] =
        ["first", "second"].map(|n| Client::new(&gitlab, &admin.create_token(TokenSpec::admin(n, &["api"]))));
    let body = json!({ "runner_type": "instance_type", "description": "made" });
    let id = first.post("/user/runners", body.clone()).await.json()["id"].as_u64().expect("an id");
    second.post("/user/runners", body).await;
    let user =
        first.graphql("{ currentUser { id } }", json!({})).await.json()["data"]["currentUser"]["id"].clone();
    let query =
        "query($user: UserID) { runners(creatorId: $user) { count nodes { id createdBy { id username } } } }";
    let found = second.graphql(query, json!({ "user": user })).await.json()["data"]["runners"].clone();
    assert_eq!(found["count"], 1);
    assert_eq!(found["nodes"][0], json!({ "id": gid(id), "createdBy": { "id": user, "username": "first" } }));
    assert_eq!(second.graphql(query, json!({})).await.json()["data"]["runners"]["count"], 3);
    let wrong = second.graphql(query, json!({ "user": gid(id) })).await.json();
    assert!(wrong["errors"][0]["message"].as_str().unwrap().contains("is not a valid Global ID"), "{wrong}");
    let row = second.get(&format!("/runners/{id}")).await.json();
    assert_eq!(row["created_by"]["username"], "first");
}

#[tokio::test]
async fn the_cost_of_a_query_follows_gitlabs_rule() {
    let (_gitlab, client) = start();
    // (pageInfo 3 + nodes 1 + 12 scalars + runners 1) x 2, and three for queryComplexity.
    let query = FLEET
        .replacen("query Fleet", "query Costs", 1)
        .replace("\n}", "\n queryComplexity { score limit } }");
    let answer = client.graphql(&query, json!({})).await.json();
    assert_eq!(answer["data"]["queryComplexity"], json!({ "score": 37, "limit": 300 }));
}

fn aliases(count: usize, fields: &str) -> String {
    let mut query = String::from("query($i: CiRunnerID!) {");
    for n in 0..count {
        write!(query, " a{n}: runner(id: $i) {{ {fields} }}").expect("text");
    }
    query.push('}');
    query
}

#[tokio::test]
async fn budgets_are_200_250_and_300() {
    let (gitlab, admin) = start();
    let id = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    let user = gitlab.admin().create_token(TokenSpec::user("user", &["read_api"]));
    let user = Client::new(&gitlab, &user);
    let variables = json!({ "i": gid(id) });
    let ask = async |client: &Client, n| client.graphql(&aliases(n, "id"), variables.clone()).await.json();
    assert!(ask(&user, 125).await["data"]["a124"].is_object());
    let over = ask(&user, 126).await;
    let text = "Query has complexity of 252, which exceeds max complexity of 250";
    assert_eq!(over, json!({ "errors": [{ "message": text }] }));
    assert!(ask(&admin, 150).await["data"]["a149"].is_object());
    assert!(
        ask(&admin, 151).await["errors"][0]["message"].as_str().unwrap().contains("max complexity of 300")
    );
    let anonymous = reqwest::Client::new().post(format!("{}/api/graphql", gitlab.url()));
    let body = json!({ "query": aliases(101, "id"), "variables": variables });
    let answer: Value = anonymous.json(&body).send().await.unwrap().json().await.unwrap();
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("max complexity of 200"), "{answer}");
}

#[tokio::test]
async fn an_array_of_queries_shares_one_budget() {
    let (gitlab, client) = start();
    let id = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    let one = json!({ "query": aliases(80, "id"), "variables": { "i": gid(id) } });
    let alone = client.graphql_body(json!([one])).await.json();
    assert!(alone[0]["data"]["a79"].is_object());
    let both = client.graphql_body(json!([one, one])).await.json();
    for answer in both.as_array().unwrap() {
        assert!(answer["errors"][0]["message"].as_str().unwrap().starts_with("Query has complexity of 320"));
    }
}

#[tokio::test]
async fn long_and_deep_queries_are_refused_with_200() {
    let (_gitlab, client) = start();
    let long = format!("{{ queryComplexity {{ score }} }} #{}", "x".repeat(10_000));
    let answer = client.graphql(&long, json!({})).await;
    assert_eq!(
        (answer.status, answer.json()["errors"][0]["message"].clone()),
        (200, json!("Query too large"))
    );
    let deep =
        format!("{{ runner(id: \"gid://gitlab/Ci::Runner/1\") {}{} }}", "{ x ".repeat(25), "}".repeat(25));
    let answer = client.graphql(&deep, json!({})).await;
    assert!(answer.text.contains("exceeds max depth of 20"), "{}", answer.text);
    // Grammar and types are a real library's.
    let wrong = client.graphql("query($id: ID!) { runner(id: $id) { id } }", json!({ "id": gid(1) })).await;
    assert_eq!(wrong.status, 200);
    assert!(wrong.json()["errors"].is_array());
}

#[tokio::test]
async fn one_missing_alias_does_not_spoil_the_others() {
    let (gitlab, client) = start();
    let id = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    let query = "query($a: CiRunnerID!, $b: CiRunnerID!) { a: runner(id: $a) { tagList } b: runner(id: $b) { tagList } }";
    let answer = client.graphql(query, json!({ "a": gid(id), "b": gid(999) })).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["data"], json!({ "a": { "tagList": ["a"] }, "b": null }));
    assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["errors"][0]["path"], json!(["b"]));
    assert!(
        answer["errors"][0]["message"].as_str().unwrap().starts_with("The resource that you are attempting")
    );
}

#[tokio::test]
async fn jobs_of_one_runner_only() {
    let (gitlab, client) = start();
    let ids = [1, 2].map(|_| gitlab.admin().create_runner(RunnerSpec::new("r", &["a"])).id);
    let query = "query($a: CiRunnerID!, $b: CiRunnerID!) {
        a: runner(id: $a) { jobs(first: 1) { nodes { id } } } b: runner(id: $b) { jobs(first: 1) { nodes { id } } } }";
    let answer = client.graphql(query, json!({ "a": gid(ids[0]), "b": gid(ids[1]) })).await.json();
    assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn groups_see_below_with_descendants() {
    let Levels { client, runners: [instance, in_top, in_sub, in_project], gitlab: _running, .. } = levels();
    let list = async |path: &str, membership: &str| {
        let query = format!(
            "{{ group(fullPath: \"{path}\") {{ runners(membership: {membership}, sort: CREATED_ASC) {{ nodes {{ id }} }} }} }}"
        );
        let answer = client.graphql(&query, json!({})).await.json();
        let nodes = answer["data"]["group"]["runners"]["nodes"].as_array().expect("nodes").clone();
        nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let gids = |ids: &[u64]| ids.iter().map(|id| gid(*id)).collect::<Vec<_>>();
    assert_eq!(list("acme", "DIRECT").await, gids(&[in_top]));
    assert_eq!(list("acme", "DESCENDANTS").await, gids(&[in_top, in_sub, in_project]));
    assert_eq!(list("acme/rnd", "ALL_AVAILABLE").await, gids(&[instance, in_top, in_sub, in_project]));
    let query =
        "{ project(fullPath: \"acme/rnd/app\") { runners { count } } currentUser { runners { count } }
        none: group(fullPath: \"nobody\") { id } }";
    let answer = client.graphql(query, json!({})).await.json();
    assert_eq!(
        answer["data"],
        json!({ "project": { "runners": { "count": 4 } }, "currentUser": { "runners": { "count": 3 } }, "none": null })
    );
    // The whole instance is for administrators and auditors.
    let answer = client.graphql("{ runners { count } }", json!({})).await.json();
    assert_eq!(answer["data"]["runners"], Value::Null);
}

const UPDATE: &str = "mutation($id: CiRunnerID!, $tags: [String!]) {
    runnerUpdate(input: { id: $id, tagList: $tags }) { errors runner { tagList } } }";

#[tokio::test]
async fn mutations_need_the_broad_scope() {
    let (gitlab, narrow) = start();
    let id = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    let variables = json!({ "id": gid(id), "tags": ["a", "b"] });
    let refused = narrow.graphql(UPDATE, variables.clone()).await;
    assert_eq!((refused.status, refused.json()["data"]["runnerUpdate"].clone()), (200, Value::Null));
    assert_eq!(gitlab.admin().tags(id), ["a"]);
    let broad = Client::new(&gitlab, &gitlab.admin().create_token(TokenSpec::admin("broad", &["api"])));
    let done = broad.graphql(UPDATE, variables).await.json();
    assert_eq!(done["data"]["runnerUpdate"], json!({ "errors": [], "runner": { "tagList": ["a", "b"] } }));
    let invalid = broad.graphql(UPDATE, json!({ "id": gid(id), "tags": [] })).await.json();
    let text = "Tags list can not be empty when runner is not allowed to pick untagged jobs";
    assert_eq!(invalid["data"]["runnerUpdate"]["errors"], json!([text]));
    assert_eq!(gitlab.admin().tags(id), ["a", "b"]);
    let stranger = Client::new(&gitlab, "nobody").graphql("{ currentUser { id } }", json!({})).await;
    assert_eq!(stranger.status, 401);
}

#[tokio::test]
async fn bulk_pause_takes_fifty() {
    let (gitlab, _) = start();
    let ids: Vec<u64> =
        (0..51).map(|_| gitlab.admin().create_runner(RunnerSpec::new("r", &["a"])).id).collect();
    let client = Client::new(&gitlab, &gitlab.admin().create_token(TokenSpec::admin("broad", &["api"])));
    let query = "mutation($ids: [CiRunnerID!]!) { runnerBulkPause(input: { ids: $ids, paused: true }) { updatedCount errors } }";
    let gids: Vec<String> = ids.iter().map(|id| gid(*id)).collect();
    let answer = client.graphql(query, json!({ "ids": gids })).await.json();
    let payload = &answer["data"]["runnerBulkPause"];
    assert_eq!((&payload["updatedCount"], payload["errors"].as_array().map(Vec::len)), (&json!(50), Some(1)));
    let paused = ids.iter().filter(|id| gitlab.admin().runner(**id).unwrap().paused).count();
    assert_eq!(paused, 50);
}

#[tokio::test]
async fn graphql_can_be_switched_off() {
    let (gitlab, client) = start();
    for status in [404, 403, 500] {
        gitlab.admin().graphql(GraphqlMode::Off(status));
        assert_eq!(client.graphql("{ currentUser { id } }", json!({})).await.status, status);
    }
    gitlab.admin().graphql(GraphqlMode::On);
    assert_eq!(client.graphql("{ currentUser { id } }", json!({})).await.status, 200);
}
