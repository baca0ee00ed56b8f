//! Which pipelines are in flight.

use serde_json::{Value, json};
use switchyard::model::{Draining, Pipeline, RunnerId, SignedDuration};
use switchyard_lab::gitlab::{JobTemplate, Outage, RunnerSpec, TokenSpec};

use crate::Bench;

/// A runner takes its next job: the job's number and token.
async fn take(url: &str, token: &str) -> (u64, String) {
    let body = json!({ "token": token, "system_id": "s_1", "info": { "version": "19.4.0" } });
    let request = reqwest::Client::new().post(format!("{url}/api/v4/jobs/request")).json(&body);
    let job: Value = request.send().await.unwrap().json().await.unwrap();
    (job["id"].as_u64().unwrap(), job["token"].as_str().unwrap().to_owned())
}

async fn finish(url: &str, (id, token): (u64, String)) {
    let body = json!({ "token": token, "state": "success" });
    let request = reqwest::Client::new().put(format!("{url}/api/v4/jobs/{id}")).json(&body);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_pipeline_counts_from_its_first_job_on_the_runners_to_its_end() {
    let bench = Bench::new();
    let (admin, url) = (bench.admin(), bench.gitlab.url());
    let blue = admin.create_runner(RunnerSpec::new("blue", &["runner-a", "rnd-runner"]));
    let look_back = SignedDuration::from_hours(24);
    let wanted = Draining { tag: "rnd-runner".parse().unwrap(), runners: vec![RunnerId(blue.id)], look_back };
    let seen = async || bench.client.in_flight(&wanted, admin.now()).await;
    assert_eq!(seen().await.unwrap(), [], "nothing has run");

    // Two jobs, one after the other: between them no runner has one, and the pipeline is in flight all the same.
    let project = admin.project().id;
    let build = JobTemplate { name: "build".into(), ..JobTemplate::new(&["rnd-runner"], "make") };
    let test = JobTemplate {
        name: "test".into(),
        needs: vec!["build".into()],
        ..JobTemplate::new(&["rnd-runner"], "make")
    };
    admin.set_ci(project, vec![build, test]);
    let token = admin.create_token(TokenSpec::admin("people", &["api"]));
    let create = reqwest::Client::new().post(format!("{url}/api/v4/projects/{project}/pipeline"));
    let create = create.bearer_auth(token).json(&json!({"ref": "main"}));
    let created: Value = create.send().await.unwrap().json().await.unwrap();
    let one = vec![Pipeline { project, id: created["id"].as_u64().unwrap() }];
    assert_eq!(seen().await.unwrap(), [], "it is bound to no cluster yet");
    let job = take(&url, &blue.token).await;
    assert_eq!(seen().await.unwrap(), one);
    finish(&url, job).await;
    assert_eq!(seen().await.unwrap(), one, "its second job waits");
    // A pipeline that is older than it is looked back and waits between two jobs is not seen: that is what the setting is for.
    admin.advance(SignedDuration::from_hours(30));
    assert_eq!(seen().await.unwrap(), []);
    let further = Draining { look_back: SignedDuration::from_hours(48), ..wanted.clone() };
    assert_eq!(bench.client.in_flight(&further, admin.now()).await.unwrap(), one);
    let job = take(&url, &blue.token).await;
    assert_eq!(seen().await.unwrap(), one, "what is running is seen however old it is");
    finish(&url, job).await;
    assert_eq!(seen().await.unwrap(), [], "it is done");

    // Jobs on the home tag are no business of the routing tag.
    admin.create_job(JobTemplate::new(&["runner-a"], "make"));
    take(&url, &blue.token).await;
    assert_eq!(seen().await.unwrap(), []);

    admin.outage(Outage::BadGateway);
    assert!(seen().await.is_err(), "what could not be read is not drained");
}
