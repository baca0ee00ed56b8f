//! The simulator's runner API: what GitLab's own documentation and source say about it.

use jiff::SignedDuration;
use serde_json::{Value, json};
use switchyard_lab::gitlab::{Owner, Role, RunnerSpec, TokenSpec};

use crate::client::{Client, Levels, levels, start};

#[tokio::test]
async fn list_rows_have_no_tags_and_no_contact() {
    let (gitlab, client) = start();
    gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a"]));
    let rows = client.get("/runners/all").await.json();
    let row = &rows[0];
    for absent in ["tag_list", "contacted_at", "locked", "run_untagged", "token"] {
        assert!(row.get(absent).is_none(), "{absent} in {row}");
    }
    assert_eq!(row["status"], "never_contacted");
    assert_eq!(row["paused"], false);
    let detail = client.get(&format!("/runners/{}", row["id"])).await.json();
    assert_eq!(detail["tag_list"], json!(["runner-a"]));
    assert!(detail.get("token").is_none());
    assert!(detail.get("projects").is_some());
    let slim = client.get(&format!("/runners/{}?include_projects=false", row["id"])).await.json();
    assert!(slim.get("projects").is_none());
}

#[tokio::test]
async fn put_replaces_all_tags_and_answers_with_the_detail() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a"]));
    let path = format!("/runners/{}", blue.id);
    let answer = client.put(&path, json!({ "tag_list": ["runner-a", " x,y "], "paused": true })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["tag_list"], json!(["runner-a", "x", "y"]));
    let answer = client.put(&path, json!({ "tag_list": "only,this" })).await.json();
    assert_eq!(answer["tag_list"], json!(["only", "this"]));
    assert_eq!(answer["paused"], true);
    let form =
        client.send("PUT", &path, "application/x-www-form-urlencoded", "tag_list[]=a&tag_list[]=b").await;
    assert_eq!(form.json()["tag_list"], json!(["a", "b"]));
}

#[tokio::test]
async fn put_refuses_with_gitlabs_words() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a"]));
    let path = format!("/runners/{}", blue.id);
    let many: Vec<String> = (0..51).map(|n| format!("t{n}")).collect();
    let long = "x".repeat(256);
    let note = "n".repeat(1025);
    let cases = [
        (
            json!({ "tag_list": [] }),
            json!({ "message": { "tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"] } }),
        ),
        (
            json!({ "tag_list": many }),
            json!({ "message": { "tags_list": ["Too many tags specified. Please limit the number of tags to 50"] } }),
        ),
        (json!({ "tag_list": [long] }), json!({ "message": { "tags": ["is invalid"] } })),
        (
            json!({ "maintenance_note": note }),
            json!({ "message": { "maintenance_note": ["is too long (maximum is 1024 characters)"] } }),
        ),
        (
            json!({ "active": true, "paused": true }),
            json!({ "error": "active, paused are mutually exclusive" }),
        ),
        (json!({ "paused": "perhaps" }), json!({ "error": "paused is invalid" })),
        (json!({ "access_level": "x" }), json!({ "error": "access_level does not have a valid value" })),
    ];
    for (body, expected) in cases {
        let answer = client.put(&path, body).await;
        assert_eq!((answer.status, answer.json()), (400, expected));
    }
    let nothing = client.put(&path, json!({ "colour": "red" })).await;
    assert_eq!(nothing.status, 400);
    assert!(nothing.text.contains("at least one parameter must be provided"), "{}", nothing.text);
    assert_eq!(gitlab.admin().tags(blue.id), ["runner-a"]);
    assert!(gitlab.admin().changes().is_empty());
}

/// The limit is looked at only when the list changes.
#[tokio::test]
async fn an_old_runner_with_too_many_tags_can_be_paused() {
    let (gitlab, client) = start();
    let many: Vec<String> = (0..51).map(|n| format!("t{n}")).collect();
    let tags: Vec<&str> = many.iter().map(String::as_str).collect();
    let old = gitlab.admin().create_runner(RunnerSpec::new("old", &tags));
    let path = format!("/runners/{}", old.id);
    assert_eq!(client.put(&path, json!({ "paused": true, "tag_list": many })).await.status, 200);
    assert_eq!(client.put(&path, json!({ "tag_list": tags[1..] })).await.status, 200);
}

#[tokio::test]
async fn there_is_no_compare_and_set_on_put() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"]));
    let url = format!("{}/api/v4/runners/{}", gitlab.url(), blue.id);
    gitlab.admin().set_tags(blue.id, &["b"]);
    let request = reqwest::Client::new().put(url).header("PRIVATE-TOKEN", &client.token);
    let request = request.header("If-Unmodified-Since", "Tue, 01 Jan 2019 00:00:00 GMT");
    let answer = request.json(&json!({ "tag_list": ["c"] })).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(gitlab.admin().tags(blue.id), ["c"]);
}

#[tokio::test]
async fn filters_use_and_and_the_database_clock() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let both = admin.create_runner(RunnerSpec::new("both", &["x", "y"])).id;
    let one = admin.create_runner(RunnerSpec::new("one", &["x"])).id;
    admin.heartbeat(both, "s_1");
    admin.heartbeat(one, "s_2");
    assert_eq!(client.ids("/runners/all?tag_list=x,y").await, [both]);
    assert_eq!(client.ids("/runners/all?tag_list=x").await, [both, one]);
    assert_eq!(client.ids("/runners/all?status=online").await, [both, one]);
    // Thirty minutes are too young for the column to be written, so the column ages while the row value does not.
    admin.advance(SignedDuration::from_mins(30));
    admin.heartbeat(both, "s_1");
    admin.advance(SignedDuration::from_mins(100));
    assert_eq!(client.ids("/runners/all?status=offline").await, [both, one]);
    assert_eq!(client.get(&format!("/runners/{both}")).await.json()["online"], true);
    assert_eq!(client.get(&format!("/runners/{one}")).await.json()["online"], false);
    // Stale is offline too.
    admin.advance(SignedDuration::from_hours(8 * 24));
    assert_eq!(client.ids("/runners/all?status=stale").await, [both, one]);
    assert_eq!(client.ids("/runners/all?status=offline").await, [both, one]);
    for wrong in ["status=dead", "type=x", "version_prefix=v19", "scope=none"] {
        assert_eq!(client.get(&format!("/runners/all?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn rest_status_of_a_paused_runner_hides_its_health() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    gitlab.admin().heartbeat(blue, "s_1");
    client.put(&format!("/runners/{blue}"), json!({ "paused": true })).await;
    let read = async || client.get(&format!("/runners/{blue}")).await.json();
    assert_eq!(
        (read().await["status"].clone(), read().await["online"].clone()),
        (json!("paused"), json!(true))
    );
    gitlab.admin().advance(SignedDuration::from_hours(3));
    assert_eq!(
        (read().await["status"].clone(), read().await["online"].clone()),
        (json!("paused"), json!(false))
    );
}

#[tokio::test]
async fn managers_are_rows_of_their_own() {
    let (gitlab, client) = start();
    let shared = gitlab.admin().create_runner(RunnerSpec::new("shared", &["a"])).id;
    gitlab.admin().heartbeat(shared, "s_blue");
    gitlab.admin().advance(SignedDuration::from_hours(3));
    gitlab.admin().heartbeat(shared, "s_green");
    let rows = client.get(&format!("/runners/{shared}/managers")).await.json();
    let seen: Vec<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["system_id"].as_str().unwrap(), m["status"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("s_blue", "offline"), ("s_green", "online")]);
}

#[tokio::test]
async fn group_lists_show_ancestors_and_not_descendants() {
    let Levels { client, project, runners: [instance, in_top, in_sub, in_project], gitlab: _running } =
        levels();
    assert_eq!(client.ids("/groups/acme/runners").await, [instance, in_top]);
    assert_eq!(client.ids("/groups/acme%2Frnd/runners").await, [instance, in_top, in_sub]);
    assert_eq!(
        client.ids(&format!("/projects/{project}/runners")).await,
        [instance, in_top, in_sub, in_project]
    );
    assert_eq!(client.ids("/runners").await, [in_top, in_sub, in_project]);
    assert_eq!(client.get("/runners/all").await.status, 403);
    assert_eq!(client.get("/groups/nobody/runners").await.text, r#"{"message":"404 Group Not Found"}"#);
}

#[tokio::test]
async fn scopes_decide_what_a_token_may_do() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let id = admin.create_runner(RunnerSpec::new("blue", &["a"])).id;
    // scope, list, detail, put
    let matrix = [
        ("read_api", 200, 200, 403),
        ("manage_runner", 403, 200, 200),
        ("create_runner", 403, 403, 403),
        ("api", 200, 200, 200),
    ];
    for (scope, list, detail, put) in matrix {
        let client = Client::new(&gitlab, &admin.create_token(TokenSpec::admin(scope, &[scope])));
        let path = format!("/runners/{id}");
        let seen = [
            client.get("/runners/all").await.status,
            client.get(&path).await.status,
            client.put(&path, json!({ "paused": false })).await.status,
        ];
        assert_eq!(seen, [list, detail, put], "{scope}");
        let managers = client.get(&format!("{path}/managers")).await.status;
        assert_eq!(managers, detail, "{scope}");
        let own = client.get("/personal_access_tokens/self").await.json();
        assert_eq!(own["scopes"], json!([scope]));
    }
    let refused = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("m", &["manage_runner"])));
    assert_eq!(refused.get("/runners/all").await.json()["error"], "insufficient_scope");
}

#[tokio::test]
async fn roles_decide_whose_runners_a_token_may_change() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let group = admin.create_group("acme");
    let project = admin.create_project("acme/app");
    let of = |owner| admin.create_runner(RunnerSpec::new("r", &["a"]).owned_by(owner)).id;
    let all = [of(Owner::Instance), of(Owner::Group(group)), of(Owner::Projects(vec![project]))];
    let scopes = ["read_api", "manage_runner"];
    let auditor = TokenSpec { auditor: true, ..TokenSpec::user("auditor", &scopes) };
    // (read, change) of an instance, a group and a project runner
    let cases = [
        (TokenSpec::admin("admin", &scopes), [(200, 200), (200, 200), (200, 200)]),
        (auditor, [(200, 403), (200, 403), (200, 403)]),
        (
            TokenSpec::user("owner", &scopes).in_group(group, Role::Owner),
            [(200, 403), (200, 200), (200, 200)],
        ),
        (
            TokenSpec::user("maint", &scopes).in_group(group, Role::Maintainer),
            [(200, 403), (200, 403), (200, 200)],
        ),
        (
            TokenSpec::user("dev", &scopes).in_group(group, Role::Developer),
            [(200, 403), (403, 403), (403, 403)],
        ),
        (
            TokenSpec::user("one", &scopes).in_project(project, Role::Maintainer),
            [(200, 403), (403, 403), (200, 200)],
        ),
    ];
    for (spec, expected) in cases {
        let name = spec.name.clone();
        let client = Client::new(&gitlab, &admin.create_token(spec));
        for (id, (read, change)) in all.iter().zip(expected) {
            let path = format!("/runners/{id}");
            let seen =
                (client.get(&path).await.status, client.put(&path, json!({ "paused": false })).await.status);
            assert_eq!(seen, (read, change), "{name} at runner {id}");
        }
    }
}

#[tokio::test]
async fn refusals_have_the_bodies_of_gitlab() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let answer = client.get("/runners/999").await;
    assert_eq!((answer.status, answer.text.as_str()), (404, r#"{"message":"404 Runner Not Found"}"#));
    let stranger = Client::new(&gitlab, "glpat-nobody").get("/runners/all").await;
    assert_eq!((stranger.status, stranger.text.as_str()), (401, r#"{"message":"401 Unauthorized"}"#));
    let revoked = TokenSpec { revoked: true, ..TokenSpec::admin("old", &["api"]) };
    let revoked = Client::new(&gitlab, &admin.create_token(revoked)).get("/runners/all").await;
    assert_eq!((revoked.status, revoked.json()["error"].clone()), (401, json!("invalid_token")));
    let nobody = Client::new(&gitlab, &admin.create_token(TokenSpec::user("nobody", &["api"])));
    let group = admin.create_group("acme");
    let hidden = admin.create_runner(RunnerSpec::new("g", &["a"]).owned_by(Owner::Group(group))).id;
    let answer = nobody.get(&format!("/runners/{hidden}")).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (403, r#"{"message":"403 Forbidden - No access granted"}"#)
    );
}

#[tokio::test]
async fn pages_have_gitlabs_headers_and_drop_totals_above_ten_thousand() {
    let (gitlab, client) = start();
    for n in 0..45 {
        gitlab.admin().create_runner(RunnerSpec::new(&format!("r{n}"), &["a"]));
    }
    let page = client.get("/runners/all?page=2&paused=false").await;
    assert_eq!(page.json().as_array().map(Vec::len), Some(20));
    let header = |name: &str| page.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    for (name, value) in [
        ("x-total", "45"),
        ("x-total-pages", "3"),
        ("x-page", "2"),
        ("x-per-page", "20"),
        ("x-next-page", "3"),
        ("x-prev-page", "1"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    let link = header("link").unwrap();
    assert!(
        link.contains(&format!(
            "<{}/api/v4/runners/all?paused=false&page=3&per_page=20>; rel=\"next\"",
            gitlab.url()
        )),
        "{link}"
    );
    assert_eq!(client.get("/runners/all?page=3").await.headers.get("x-next-page").unwrap(), "");
    assert_eq!(client.get("/runners/all?page=9").await.json(), json!([]));

    let many = gitlab.admin().virtual_runners(10_000, |n| RunnerSpec::new(&format!("v{n}"), &["v"]));
    let page = client.get("/runners/all?per_page=100&page=100").await;
    assert_eq!(page.json().as_array().map(Vec::len), Some(100));
    assert!(page.headers.get("x-total").is_none() && page.headers.get("x-total-pages").is_none());
    assert_eq!(page.headers.get("x-next-page").unwrap(), "101");
    assert_eq!(many.runners.len(), 10_000);
}

/// Pages by number shift when a row before them goes away: a reader goes by ids.
#[tokio::test]
async fn pages_by_number_shift() {
    let (gitlab, client) = start();
    let ids: Vec<u64> =
        (0..4).map(|n| gitlab.admin().create_runner(RunnerSpec::new(&format!("r{n}"), &["a"])).id).collect();
    assert_eq!(client.ids("/runners/all?per_page=2&page=1").await, ids[..2]);
    gitlab.admin().delete_runner(ids[0]);
    assert_eq!(
        client.ids("/runners/all?per_page=2&page=2").await,
        ids[3..],
        "the third row was on neither page"
    );
}

#[tokio::test]
async fn create_and_delete() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let client = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("root", &["api"])));
    let body = json!({ "runner_type": "instance_type", "tag_list": "a,b", "description": "new", "run_untagged": false });
    let answer = client.send("POST", "/user/runners", "application/json", &body.to_string()).await;
    assert_eq!(answer.status, 201);
    let created = answer.json();
    assert!(created["token"].as_str().unwrap().starts_with("glrt-"));
    let id = created["id"].as_u64().unwrap();
    assert_eq!(admin.tags(id), ["a", "b"]);
    let late = reqwest::Client::new().delete(format!("{}/api/v4/runners/{id}", gitlab.url()));
    let late = late
        .header("PRIVATE-TOKEN", &client.token)
        .header("If-Unmodified-Since", "Tue, 01 Jan 2019 00:00:00 GMT");
    assert_eq!(late.send().await.unwrap().status(), 412);
    assert_eq!(client.send("DELETE", &format!("/runners/{id}"), "application/json", "").await.status, 204);
    assert!(admin.runner(id).is_none());
    let (a, b) = (admin.create_project("x/a"), admin.create_project("x/b"));
    let two = admin.create_runner(RunnerSpec::new("two", &["a"]).owned_by(Owner::Projects(vec![a, b]))).id;
    assert_eq!(client.send("DELETE", &format!("/runners/{two}"), "application/json", "").await.status, 403);
}

#[tokio::test]
async fn the_audit_knows_who_changed_what() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"])).id;
    let path = format!("/runners/{blue}");
    client.put(&path, json!({ "tag_list": ["a", "rnd-runner"] })).await;
    client.put(&path, json!({ "tag_list": ["a", "rnd-runner"] })).await;
    let writes: Vec<_> = gitlab.admin().audit().into_iter().filter(|a| a.via == "rest").collect();
    assert_eq!(writes.iter().map(|a| a.changed).collect::<Vec<_>>(), [true, false]);
    let first = &writes[0];
    assert_eq!((first.runner_id, first.token.as_str()), (blue, "switchyard"));
    assert_eq!(first.old.as_ref().unwrap().tag_list, ["a"]);
    assert_eq!(first.new.as_ref().unwrap().tag_list, ["a", "rnd-runner"]);
    let http: Value = client.lab("/audit").await.json();
    assert_eq!(http.as_array().map(Vec::len), Some(3));
}
