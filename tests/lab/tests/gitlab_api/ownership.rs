//! Creation, removal and projects of runners, by REST and by GraphQL.

use serde_json::{Value, json};
use switchyard_lab::gitlab::{Owner, Role, RunnerSpec, Simulator, TokenSpec};

use crate::client::{Client, start};

fn gid(id: u64) -> String {
    format!("gid://gitlab/Ci::Runner/{id}")
}

fn root(gitlab: &Simulator) -> Client {
    Client::new(gitlab, &gitlab.admin().create_token(TokenSpec::admin("root", &["api"])))
}

fn projects(gitlab: &Simulator, id: u64) -> Vec<u64> {
    match &gitlab.admin().runner(id).expect("a runner").owner {
        Owner::Projects(ids) => ids.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_project_runner_serves_further_projects() {
    let (gitlab, _) = start();
    let (admin, client) = (gitlab.admin(), root(&gitlab));
    let (a, b) = (admin.create_project("x/a"), admin.create_project("x/b"));
    let group = admin.create_group("x");
    let of = |owner| admin.create_runner(RunnerSpec::new("r", &["a"]).owned_by(owner)).id;
    let runner = of(Owner::Projects(vec![a]));
    let assign = async |client: &Client, runner: u64| {
        let answer = client.post(&format!("/projects/{b}/runners"), json!({ "runner_id": runner })).await;
        (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
    };
    let forbidden = |why: &str| (403, format!("403 Forbidden - {why}"));
    assert_eq!(assign(&client, runner).await.0, 201);
    assert_eq!(projects(&gitlab, runner), [a, b]);
    assert_eq!(assign(&client, runner).await.0, 400, "twice");
    assert_eq!(assign(&client, of(Owner::Group(group))).await, forbidden("Runner is a group runner"));
    assert_eq!(assign(&client, of(Owner::Instance)).await, forbidden("Runner is an instance runner"));
    assert_eq!(assign(&client, 999).await.0, 404);
    // A maintainer of both: not when it is locked, and not with the narrow scope.
    let spec = |scope: &str| {
        TokenSpec::user("m", &[scope]).in_project(a, Role::Maintainer).in_project(b, Role::Maintainer)
    };
    let maintainer = Client::new(&gitlab, &admin.create_token(spec("api")));
    let locked =
        RunnerSpec { locked: true, ..RunnerSpec::new("l", &["a"]).owned_by(Owner::Projects(vec![a])) };
    let locked = admin.create_runner(locked).id;
    assert_eq!(assign(&maintainer, locked).await, forbidden("Runner is locked"));
    assert_eq!(assign(&maintainer, of(Owner::Projects(vec![a]))).await.0, 201);
    let narrow = Client::new(&gitlab, &admin.create_token(spec("manage_runner")));
    assert_eq!(assign(&narrow, runner).await.0, 403);

    let unassign = async |project: u64, runner: u64| {
        client
            .send("DELETE", &format!("/projects/{project}/runners/{runner}"), "application/json", "")
            .await
            .status
    };
    assert_eq!(unassign(a, runner).await, 403, "its owner project");
    assert_eq!(unassign(b, runner).await, 204);
    assert_eq!(projects(&gitlab, runner), [a]);
    assert_eq!(unassign(b, runner).await, 404, "twice");
    assert_eq!(unassign(a, of(Owner::Group(group))).await, 404);
}

#[tokio::test]
async fn a_token_cannot_be_reset_on_a_row_that_is_not_valid() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let path = |id: u64| format!("/runners/{id}/reset_authentication_token");
    let good = admin.create_runner(RunnerSpec::new("good", &["a"]));
    let reset = client.post(&path(good.id), json!({})).await;
    assert_eq!(reset.status, 201);
    assert_ne!(reset.json()["token"], json!(good.token));
    // Neither tags nor untagged jobs: nobody could make it today.
    let bad = admin.create_runner(RunnerSpec::new("bad", &[]));
    let refused = client.post(&path(bad.id), json!({})).await;
    let text = "can not be empty when runner is not allowed to pick untagged jobs";
    assert_eq!((refused.status, refused.json()), (422, json!({ "message": { "tags_list": [text] } })));
    assert_eq!(admin.runner(bad.id).unwrap().token, bad.token);
}

async fn mutate(client: &Client, field: &str, input: Value, shown: &str) -> Value {
    let name = format!("{}{}Input", field[..1].to_uppercase(), &field[1..]);
    let query = format!("mutation($input: {name}!) {{ {field}(input: $input) {{ errors {shown} }} }}");
    let answer = client.graphql(&query, json!({ "input": input })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert!(answer["data"][field].is_object() || answer["errors"].is_array(), "{answer}");
    answer["data"][field].clone()
}

#[tokio::test]
async fn runners_are_created_and_deleted_by_graphql() {
    let (gitlab, _) = start();
    let (admin, client) = (gitlab.admin(), root(&gitlab));
    let input =
        json!({ "runnerType": "INSTANCE_TYPE", "description": "new", "tagList": ["a"], "paused": true });
    let made =
        mutate(&client, "runnerCreate", input, "runner { id tagList paused ephemeralAuthenticationToken }")
            .await;
    assert_eq!((&made["runner"]["tagList"], &made["runner"]["paused"]), (&json!(["a"]), &json!(true)));
    assert!(made["runner"]["ephemeralAuthenticationToken"].as_str().unwrap().starts_with("glrt-"));
    let id: u64 = made["runner"]["id"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    let bad = json!({ "runnerType": "INSTANCE_TYPE", "runUntagged": false });
    let bad = mutate(&client, "runnerCreate", bad, "runner { id }").await;
    let text = "Tags list can not be empty when runner is not allowed to pick untagged jobs";
    assert_eq!(bad, json!({ "errors": [text], "runner": null }));
    // Whoever only reads, or does not own the group, makes none.
    let group = admin.create_group("x");
    let input = json!({ "runnerType": "GROUP_TYPE", "groupId": format!("gid://gitlab/Group/{group}") });
    for (role, scope, made) in
        [(Role::Owner, "api", true), (Role::Maintainer, "api", false), (Role::Owner, "read_api", false)]
    {
        let spec = TokenSpec::user("u", &[scope]).in_group(group, role);
        let client = Client::new(&gitlab, &admin.create_token(spec));
        let answer = mutate(&client, "runnerCreate", input.clone(), "runner { id }").await;
        assert_eq!(answer["runner"].is_object(), made, "{role:?} {scope}");
    }

    assert_eq!(mutate(&client, "runnerDelete", json!({ "id": gid(id) }), "").await, json!({ "errors": [] }));
    assert!(admin.runner(id).is_none());
    assert_eq!(mutate(&client, "runnerDelete", json!({ "id": gid(id) }), "").await, Value::Null);
    let ids: Vec<u64> = (0..51).map(|_| admin.create_runner(RunnerSpec::new("r", &["a"])).id).collect();
    let all = json!({ "ids": ids.iter().map(|id| gid(*id)).collect::<Vec<_>>() });
    let gone = mutate(&client, "bulkRunnerDelete", all, "deletedCount deletedIds").await;
    assert_eq!((&gone["deletedCount"], gone["errors"].as_array().map(Vec::len)), (&json!(50), Some(1)));
    assert_eq!(ids.iter().filter(|id| admin.runner(**id).is_some()).count(), 1);
}

#[tokio::test]
async fn runners_get_and_lose_projects_by_graphql() {
    let (gitlab, _) = start();
    let (admin, client) = (gitlab.admin(), root(&gitlab));
    let (a, b, c) = (admin.create_project("x/a"), admin.create_project("x/b"), admin.create_project("x/c"));
    let runner = admin.create_runner(RunnerSpec::new("r", &["a"]).owned_by(Owner::Projects(vec![a]))).id;
    let input = |path: &str| json!({ "runnerId": gid(runner), "projectPath": path });
    assert_eq!(mutate(&client, "runnerAssignToProject", input("x/b"), "").await, json!({ "errors": [] }));
    assert_eq!(projects(&gitlab, runner), [a, b]);
    let owner = mutate(&client, "runnerUnassignFromProject", input("x/a"), "").await;
    assert_eq!(owner["errors"].as_array().map(Vec::len), Some(1), "{owner}");
    assert_eq!(mutate(&client, "runnerUnassignFromProject", input("x/b"), "").await, json!({ "errors": [] }));
    assert_eq!(projects(&gitlab, runner), [a]);
    assert_eq!(mutate(&client, "runnerAssignToProject", input("x/nowhere"), "").await, Value::Null);

    let update = json!({ "id": gid(runner), "associatedProjects": [format!("gid://gitlab/Project/{c}")] });
    assert_eq!(mutate(&client, "runnerUpdate", update, "").await, json!({ "errors": [] }));
    assert_eq!(projects(&gitlab, runner), [a, c], "the owner project stays");
    let clear = |id: u64| json!({ "projectId": format!("gid://gitlab/Project/{id}") });
    assert_eq!(mutate(&client, "runnerCacheClear", clear(a), "").await, json!({ "errors": [] }));
    assert_eq!(mutate(&client, "runnerCacheClear", clear(999), "").await, Value::Null);
}
