//! Pipelines, matching, the runner's protocol and Workhorse's held polls.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use switchyard_lab::{
    gitlab::{
        Config, Fault, JobStatus, JobTemplate, Kind, Match, Owner, Role, RunnerSpec, Simulator, TokenSpec,
    },
    wait::PATIENCE,
};

use crate::client::{Answer, Client, start};

/// A poll, as a runner sends it.
async fn poll(client: &Client, token: &str, system_id: &str, last_update: Option<&str>) -> Answer {
    let mut body = json!({ "token": token, "system_id": system_id, "info": { "version": "19.4.0" } });
    if let Some(value) = last_update {
        body["last_update"] = json!(value);
    }
    client.post("/jobs/request", body).await
}

fn last_update(answer: &Answer) -> String {
    answer.headers["x-gitlab-last-update"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_job_goes_through_the_runners_protocol() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let blue = admin.create_runner(RunnerSpec::new("blue", &["runner-a", "rnd-runner"]));
    assert_eq!(poll(&client, &blue.token, "s_1", None).await.status, 204);
    let id = admin.create_job(JobTemplate::new(&["rnd-runner"], "echo hi"));
    let answer = poll(&client, &blue.token, "s_1", None).await;
    assert_eq!(answer.status, 201);
    let job = answer.json();
    assert_eq!((job["id"].as_u64(), &job["steps"][0]["script"]), (Some(id), &json!(["echo hi"])));
    let token = job["token"].as_str().unwrap();
    let http = reqwest::Client::new();
    let patch = async |range: &str, text: &'static str| {
        let request = http.patch(format!("{}/api/v4/jobs/{id}/trace", gitlab.url()));
        request.header("JOB-TOKEN", token).header("Content-Range", range).body(text).send().await.unwrap()
    };
    let first = patch("0-4", "hello").await;
    assert_eq!((first.status().as_u16(), first.headers()["range"].to_str().unwrap()), (202, "0-5"));
    assert_eq!(first.headers()["job-status"], "running");
    assert_eq!(first.headers()["x-gitlab-trace-update-interval"], "1");
    let twice = patch("0-4", "hello").await;
    assert_eq!((twice.status().as_u16(), twice.headers()["range"].to_str().unwrap()), (416, "0-5"));
    assert_eq!(patch("5-6", "!\n").await.status(), 202);
    let path = format!("/jobs/{id}");
    assert_eq!(client.put(&path, json!({ "token": "wrong", "state": "success" })).await.status, 403);
    assert_eq!(client.put(&path, json!({ "token": token, "state": "success" })).await.status, 200);
    let late = client.put(&path, json!({ "token": token, "state": "success" })).await;
    assert_eq!((late.status, late.headers["job-status"].to_str().unwrap()), (403, "success"));

    // The same job, seen by people.
    let project = admin.project().id;
    let row = client.get(&format!("/projects/{project}/jobs/{id}")).await.json();
    assert_eq!((&row["status"], &row["runner"]["id"]), (&json!("success"), &json!(blue.id)));
    assert_eq!(row["runner_manager"]["system_id"], "s_1");
    assert_eq!(client.get(&format!("/projects/{project}/jobs/{id}/trace")).await.text, "hello!\n");
    assert_eq!(client.ids(&format!("/runners/{}/jobs", blue.id)).await, [id]);
    assert_eq!(client.ids(&format!("/runners/{}/jobs?status=running", blue.id)).await, [0u64; 0]);
    assert_eq!(poll(&client, "glrt-unknown", "s_1", None).await.status, 403);
}

/// The only list of runners' things that pages by cursor.
#[tokio::test]
async fn jobs_of_a_runner_page_by_cursor() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let blue = admin.create_runner(RunnerSpec::new("blue", &["x"]));
    let run = async || {
        let id = admin.create_job(JobTemplate::new(&["x"], "true"));
        assert_eq!(poll(&client, &blue.token, "s_1", None).await.status, 201);
        id
    };
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(run().await);
    }
    let base = format!("/runners/{}/jobs", blue.id);
    let mut path = format!("{base}?pagination=keyset&order_by=id&sort=desc&per_page=2");
    let mut pages = Vec::new();
    loop {
        let answer = client.get(&path).await;
        assert!(answer.headers.get("x-total").is_none() && answer.headers.get("x-page").is_none());
        let rows = answer.json();
        pages.push(rows.as_array().unwrap().iter().map(|j| j["id"].as_u64().unwrap()).collect::<Vec<_>>());
        // A new job does not shift the pages behind the cursor.
        run().await;
        let Some(link) = answer.headers.get("link").map(|l| l.to_str().unwrap().to_owned()) else { break };
        let next = link.strip_prefix(&format!("<{}/api/v4", gitlab.url())).expect("this server");
        path = next.strip_suffix(">; rel=\"next\"").expect("the next page only").to_owned();
    }
    assert_eq!(pages, [vec![ids[4], ids[3]], vec![ids[2], ids[1]], vec![ids[0]]]);
    // By number: ascending unless ordered, and without totals when one manager is asked for.
    let first = async |query: &str| client.ids(&format!("{base}?per_page=1{query}")).await;
    assert_eq!(first("&sort=desc").await, ids[..1]);
    assert_eq!(first("&order_by=id&sort=asc").await, ids[..1]);
    assert!(first("&order_by=id").await > ids);
    let totals =
        async |query: &str| client.get(&format!("{base}{query}")).await.headers.contains_key("x-total");
    assert_eq!((totals("").await, totals("?system_id=s_1").await), (true, false));
    for wrong in ["order_by=status", "status=dead", "pagination=keyset&cursor=nonsense"] {
        assert_eq!(client.get(&format!("{base}?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn jobs_match_by_tags_scope_protection_and_pause() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let group = admin.create_group("elsewhere");
    let untagged = RunnerSpec { run_untagged: true, ..RunnerSpec::new("untagged", &["x"]) };
    let specs = [
        ("one tag", RunnerSpec::new("a", &["x"]), false),
        ("both tags", RunnerSpec::new("b", &["x", "y", "z"]), true),
        ("untagged", untagged.clone(), false),
        ("other group", RunnerSpec::new("c", &["x", "y"]).owned_by(Owner::Group(group)), false),
        ("paused", RunnerSpec { paused: true, ..RunnerSpec::new("d", &["x", "y"]) }, false),
        ("protected", RunnerSpec { ref_protected: true, ..RunnerSpec::new("e", &["x", "y"]) }, true),
    ];
    for (name, spec, takes) in specs {
        let runner = admin.create_runner(spec);
        let job = admin.create_job(JobTemplate::new(&["x", "y"], "true"));
        let status = poll(&client, &runner.token, "s_1", None).await.status;
        assert_eq!(status, if takes { 201 } else { 204 }, "{name}");
        admin.cancel_job(job);
        // Paused or not: every poll that reaches Rails is a sign of life.
        assert!(admin.runner(runner.id).unwrap().contact.redis_contacted_at.is_some(), "{name}");
    }
    let runner = admin.create_runner(untagged);
    admin.create_job(JobTemplate::new(&[], "true"));
    assert_eq!(poll(&client, &runner.token, "s_1", None).await.status, 201);
}

#[tokio::test]
async fn protected_runners_take_protected_refs_only() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let project = admin.project();
    let spec = TokenSpec::user("dev", &["api"]).in_project(project.id, Role::Developer);
    let client = Client::new(&gitlab, &admin.create_token(spec));
    let runner = admin.create_runner(RunnerSpec { ref_protected: true, ..RunnerSpec::new("p", &["x"]) });
    let run = async |git_ref: &str| {
        let body = json!({ "ref": git_ref, "inputs": { "tag": "x" } });
        client.post(&format!("/projects/{}/pipeline", project.id), body).await
    };
    assert_eq!(run("feature/x").await.status, 201);
    assert_eq!(poll(&client, &runner.token, "s_1", None).await.status, 204);
    assert_eq!(run("main").await.status, 201);
    assert_eq!(poll(&client, &runner.token, "s_1", None).await.status, 201);
    let unknown = run("nowhere").await;
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (400, r#"{"message":{"base":["Reference not found"]}}"#)
    );
}

#[tokio::test]
async fn a_pipeline_shows_which_runner_and_which_manager_ran_it() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let project = admin.project();
    let client = Client::new(&gitlab, &admin.create_token(TokenSpec::admin("root", &["api"])));
    let green = admin.create_runner(RunnerSpec::new("green", &["rnd-runner"]));
    let base = format!("/projects/{}", project.id);
    let trigger = json!({ "token": project.trigger_token, "ref": "main", "inputs": { "tag": "rnd-runner" } });
    let anonymous = Client::new(&gitlab, "");
    let pipeline = anonymous.post(&format!("{base}/trigger/pipeline"), trigger).await;
    assert_eq!(pipeline.status, 201);
    let pipeline = pipeline.json();
    assert_eq!(pipeline["status"], "pending");
    let id = pipeline["id"].as_u64().unwrap();
    let jobs = async || client.get(&format!("{base}/pipelines/{id}/jobs")).await.json()[0].clone();
    let waiting = jobs().await;
    assert_eq!((&waiting["runner"], &waiting["tag_list"]), (&Value::Null, &json!(["rnd-runner"])));
    let taken = poll(&client, &green.token, "s_green", None).await.json();
    assert_eq!(jobs().await["runner_manager"]["system_id"], "s_green");
    let job = taken["id"].as_u64().unwrap();
    let canceled = client.post(&format!("{base}/jobs/{job}/cancel"), json!({})).await;
    assert_eq!((canceled.status, &canceled.json()["status"]), (201, &json!("canceled")));
    // The runner hears it at its next call.
    let body = json!({ "token": taken["token"], "state": "running" });
    let told = client.put(&format!("/jobs/{job}"), body).await;
    assert_eq!((told.status, told.headers["job-status"].to_str().unwrap()), (403, "canceled"));
    let again = client.post(&format!("{base}/jobs/{job}/retry"), json!({})).await.json();
    assert_ne!(again["id"], json!(job));
    assert_eq!(poll(&client, &green.token, "s_green", None).await.json()["id"], again["id"]);
    let canceled = client.post(&format!("{base}/pipelines/{id}/cancel"), json!({})).await.json();
    assert_eq!(canceled["status"], "canceled");
}

#[tokio::test]
async fn jobs_wait_for_what_they_need() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let project = admin.project();
    let job = |name: &str, needs: &[&str]| JobTemplate {
        name: name.to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        ..JobTemplate::new(&["x"], "true")
    };
    admin.set_ci(project.id, vec![job("build", &[]), job("test", &["build"])]);
    let body = json!({ "token": project.trigger_token, "ref": "main" });
    client.post(&format!("/projects/{}/trigger/pipeline", project.id), body).await;
    let runner = admin.create_runner(RunnerSpec::new("r", &["x"]));
    let first = poll(&client, &runner.token, "s_1", None).await.json();
    assert_eq!(first["job_info"]["name"], "build");
    assert_eq!(poll(&client, &runner.token, "s_1", None).await.status, 204);
    let done = json!({ "token": first["token"], "state": "success" });
    client.put(&format!("/jobs/{}", first["id"]), done).await;
    let second = poll(&client, &runner.token, "s_1", None).await.json();
    assert_eq!(
        (&second["job_info"]["name"], &second["dependencies"][0]["name"]),
        (&json!("test"), &json!("build"))
    );
    // A node that dies leaves its job running until the stuck-job worker comes.
    let id = second["id"].as_u64().unwrap();
    admin.advance(SignedDuration::from_mins(61));
    assert_eq!(admin.job(id).unwrap().status, JobStatus::Running);
    assert_eq!(admin.drop_stuck_jobs(), 1);
    assert_eq!(admin.job(id).unwrap().failure_reason.as_deref(), Some("stuck_or_timeout_failure"));
}

fn held() -> (Simulator, Client) {
    let gitlab = Simulator::start(Config { long_poll: 10 * PATIENCE, ..Config::default() });
    let token = gitlab.admin().create_token(TokenSpec::admin("root", &["api"]));
    let client = Client::new(&gitlab, &token);
    (gitlab, client)
}

/// The tick probe: a held poll is no sign of life; a PUT that changes nothing makes one.
#[tokio::test]
async fn a_held_poll_is_no_heartbeat_and_a_put_ends_it() {
    let (gitlab, client) = held();
    let admin = gitlab.admin();
    let blue = admin.create_runner(RunnerSpec::new("blue", &["a"]));
    let value = last_update(&poll(&client, &blue.token, "s_1", None).await);
    let contacted = || admin.runner(blue.id).unwrap().contact.redis_contacted_at.unwrap();
    let before = contacted();
    admin.advance(SignedDuration::from_mins(10));
    let both = async {
        tokio::join!(poll(&client, &blue.token, "s_1", Some(&value)), async {
            let held = |admin: &switchyard_lab::gitlab::Admin| (admin.held_polls(blue.id) == 1).then_some(());
            admin.until("held", PATIENCE, held).await;
            client.put(&format!("/runners/{}", blue.id), json!({ "paused": false })).await
        })
    };
    let in_time = tokio::time::timeout(PATIENCE, both).await;
    let (polled, put) = in_time.expect("held to the end in spite of the PUT");
    assert_eq!((polled.status, put.status), (204, 200));
    assert_eq!(contacted(), before, "Workhorse answered");
    let again = poll(&client, &blue.token, "s_1", Some(&value)).await;
    assert_eq!(again.status, 204);
    assert_ne!(last_update(&again), value);
    assert!(contacted() > before, "Rails answered");
}

#[tokio::test]
async fn a_bulk_unpause_does_not_wake_a_held_poll() {
    let (gitlab, client) = held();
    let admin = gitlab.admin();
    let blue = admin.create_runner(RunnerSpec { paused: true, ..RunnerSpec::new("blue", &["a"]) });
    let value = last_update(&poll(&client, &blue.token, "s_1", None).await);
    admin.create_job(JobTemplate::new(&["a"], "true"));
    let query =
        "mutation($ids: [CiRunnerID!]!) { runnerBulkPause(input: { ids: $ids, paused: false }) { errors } }";
    let ids = json!({ "ids": [format!("gid://gitlab/Ci::Runner/{}", blue.id)] });
    client.graphql(query, ids).await;
    assert!(!admin.runner(blue.id).unwrap().paused);
    let request = poll(&client, &blue.token, "s_1", Some(&value));
    assert!(tokio::time::timeout(Duration::from_millis(400), request).await.is_err(), "still held");
    // runnerUpdate ticks.
    let query = "mutation($id: CiRunnerID!) { runnerUpdate(input: { id: $id, paused: false }) { errors } }";
    client.graphql(query, json!({ "id": format!("gid://gitlab/Ci::Runner/{}", blue.id) })).await;
    assert_eq!(poll(&client, &blue.token, "s_1", Some(&value)).await.status, 201);
}

#[tokio::test]
async fn a_queue_value_lives_for_an_hour() {
    let (gitlab, client) = held();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"]));
    let value = last_update(&poll(&client, &blue.token, "s_1", None).await);
    gitlab.admin().advance(SignedDuration::from_mins(61));
    let answer = poll(&client, &blue.token, "s_1", Some(&value)).await;
    assert_ne!(last_update(&answer), value);
}

#[tokio::test]
async fn a_matching_job_wakes_only_the_runners_that_may_take_it() {
    let (gitlab, client) = held();
    let admin = gitlab.admin();
    let (a, b) = (
        admin.create_runner(RunnerSpec::new("a", &["a"])),
        admin.create_runner(RunnerSpec::new("b", &["b"])),
    );
    let value_a = last_update(&poll(&client, &a.token, "s_1", None).await);
    let value_b = last_update(&poll(&client, &b.token, "s_2", None).await);
    admin.create_job(JobTemplate::new(&["a"], "true"));
    assert_eq!(poll(&client, &a.token, "s_1", Some(&value_a)).await.status, 201);
    let other = poll(&client, &b.token, "s_2", Some(&value_b));
    assert!(tokio::time::timeout(Duration::from_millis(300), other).await.is_err(), "still held");
}

#[tokio::test]
async fn a_403_can_be_had_for_job_requests_alone() {
    let (gitlab, client) = start();
    let blue = gitlab.admin().create_runner(RunnerSpec::new("blue", &["a"]));
    gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Forbidden));
    assert_eq!(poll(&client, &blue.token, "s_1", None).await.status, 403);
    assert_eq!(client.get("/runners/all").await.status, 200);
    gitlab.admin().clear_faults();
    let body = json!({ "token": blue.token, "system_id": "s_1" });
    assert_eq!(client.post("/runners/verify", body.clone()).await.status, 200);
    assert_eq!(
        client.send("DELETE", "/runners/managers", "application/json", &body.to_string()).await.status,
        204
    );
    let fresh = gitlab.admin().reset_runner_token(blue.id).unwrap();
    assert_eq!(poll(&client, &blue.token, "s_1", None).await.status, 403);
    assert_eq!(poll(&client, &fresh, "s_1", None).await.status, 204);
}
