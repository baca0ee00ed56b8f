//! Files with `last_commit_id`, and variables without anything of the kind.

use serde_json::{Value, json};
use switchyard_lab::gitlab::{Fault, Kind, Match, Role, Simulator, TokenSpec};

use crate::client::{Answer, Client, start};

const CHANGED: &str = "You are attempting to update a file that has changed since you started editing it.";

struct Repository {
    gitlab: Simulator,
    client: Client,
    project: u64,
    path: String,
}

/// A maintainer's view of `lease/rnd.json`.
fn repository() -> Repository {
    let (gitlab, _) = start();
    let project = gitlab.admin().project().id;
    let spec = TokenSpec::user("maint", &["api"]).in_project(project, Role::Maintainer);
    let client = Client::new(&gitlab, &gitlab.admin().create_token(spec));
    let path = format!("/projects/{project}/repository/files/lease%2Frnd.json");
    Repository { gitlab, client, project, path }
}

impl Repository {
    async fn send(&self, method: &str, fields: Value) -> Answer {
        let mut body = json!({ "branch": "main", "commit_message": "Lease [skip ci]" });
        for (key, value) in fields.as_object().expect("fields") {
            body[key] = value.clone();
        }
        self.client.send(method, &self.path, "application/json", &body.to_string()).await
    }

    async fn read(&self) -> Value {
        let answer = self.client.get(&format!("{}?ref=main", self.path)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

fn message(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_file_is_written_and_read_with_its_headers() {
    let lab = repository();
    let missing = lab.client.get(&format!("{}?ref=main", lab.path)).await;
    assert_eq!(message(&missing), (404, "404 File Not Found".to_owned()));
    let created = lab.send("POST", json!({ "content": "aGVsbG8=", "encoding": "base64" })).await;
    assert_eq!(
        (created.status, created.json()),
        (201, json!({ "file_path": "lease/rnd.json", "branch": "main" }))
    );
    let again = lab.send("POST", json!({ "content": "x" })).await;
    assert_eq!(message(&again), (400, "A file with this name already exists".to_owned()));
    let row = lab.read().await;
    assert_eq!(
        (&row["content"], &row["encoding"], &row["size"]),
        (&json!("aGVsbG8="), &json!("base64"), &json!(5))
    );
    assert_eq!((&row["file_name"], &row["commit_id"]), (&json!("rnd.json"), &row["last_commit_id"]));
    let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(row["content_sha256"], sha);
    let head = lab.client.send("HEAD", &format!("{}?ref=main", lab.path), "application/json", "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for (name, key) in [
        ("x-gitlab-last-commit-id", "last_commit_id"),
        ("x-gitlab-commit-id", "commit_id"),
        ("x-gitlab-content-sha256", "content_sha256"),
        ("x-gitlab-file-path", "file_path"),
        ("x-gitlab-ref", "ref"),
    ] {
        assert_eq!(json!(head.headers[name].to_str().unwrap()), row[key], "{name}");
    }
    assert_eq!(lab.client.get(&lab.path).await.json(), json!({ "error": "ref is missing, ref is empty" }));
    let nowhere = lab.client.get(&format!("{}?ref=nowhere", lab.path)).await;
    assert_eq!(message(&nowhere), (404, "404 Commit Not Found".to_owned()));
    assert_eq!(lab.send("DELETE", json!({})).await.status, 204);
    assert_eq!(lab.client.get(&format!("{}?ref=main", lab.path)).await.status, 404);
    // What was is still there, by the commit.
    let before = lab.client.get(&format!("{}?ref={}", lab.path, row["commit_id"].as_str().unwrap())).await;
    assert_eq!(before.json()["content"], "aGVsbG8=");
    assert_eq!(lab.gitlab.admin().count("head_file"), 1);
}

/// Of two that read the same, one wins.
#[tokio::test]
async fn an_old_last_commit_id_is_refused() {
    let lab = repository();
    lab.send("POST", json!({ "content": "nobody" })).await;
    let seen = lab.read().await["last_commit_id"].clone();
    let first = lab.send("PUT", json!({ "content": "blue", "last_commit_id": seen })).await;
    assert_eq!(first.status, 200);
    let second = lab.send("PUT", json!({ "content": "green", "last_commit_id": seen })).await;
    assert_eq!(message(&second), (400, CHANGED.to_owned()));
    let content = || lab.gitlab.admin().file(lab.project, "lease/rnd.json");
    assert_eq!(content().as_deref(), Some(b"blue".as_slice()));
    // Without it the last writer wins.
    assert_eq!(lab.send("PUT", json!({ "content": "green" })).await.status, 200);
    assert_eq!(content().as_deref(), Some(b"green".as_slice()));
    // A file that was deleted meanwhile has changed; one that never was does not exist.
    let seen = lab.read().await["last_commit_id"].clone();
    lab.gitlab.admin().commit_file(lab.project, "lease/rnd.json", None);
    let gone = lab.send("PUT", json!({ "content": "x", "last_commit_id": seen })).await;
    assert_eq!(message(&gone), (400, CHANGED.to_owned()));
    let gone = lab.send("PUT", json!({ "content": "x" })).await;
    assert_eq!(message(&gone), (400, "A file with this name doesn't exist".to_owned()));
}

/// It is no comparison of equal ids.
#[tokio::test]
async fn last_commit_id_is_weaker_than_it_looks() {
    let lab = repository();
    lab.send("POST", json!({ "content": "blue" })).await;
    let row = lab.read().await;
    // Another file's commit is as good as the file's own.
    let other = lab.gitlab.admin().commit_file(lab.project, "other", Some("x")).expect("a commit");
    assert_eq!(lab.read().await["last_commit_id"], row["last_commit_id"]);
    assert_ne!(lab.read().await["commit_id"], row["commit_id"]);
    // The same content again is a commit, and no change of the file.
    let same = lab.send("PUT", json!({ "content": "blue", "last_commit_id": other })).await;
    assert_eq!(same.status, 200);
    assert_eq!(lab.read().await["last_commit_id"], row["last_commit_id"]);
    // An id that is nowhere is not refused.
    let invented = "0".repeat(40);
    let blind = lab.send("PUT", json!({ "content": "green", "last_commit_id": invented })).await;
    assert_eq!(blind.status, 200);
    // Deleting does not look at it.
    assert_eq!(lab.send("DELETE", json!({ "last_commit_id": row["last_commit_id"] })).await.status, 204);
}

#[tokio::test]
async fn a_lost_race_is_another_400() {
    let lab = repository();
    lab.send("POST", json!({ "content": "nobody" })).await;
    lab.gitlab.admin().fault(Fault::new(Match::operation("^update_file$"), Kind::LostRace).times(1));
    let raced = lab.send("PUT", json!({ "content": "blue" })).await;
    let text = "Could not update refs/heads/main. Please refresh and try again.";
    assert_eq!(message(&raced), (400, text.to_owned()));
    assert_eq!(lab.gitlab.admin().file(lab.project, "lease/rnd.json").as_deref(), Some(b"nobody".as_slice()));
    assert_eq!(lab.send("PUT", json!({ "content": "blue" })).await.status, 200);
}

#[tokio::test]
async fn branches_start_from_others() {
    let lab = repository();
    let nowhere = lab.send("POST", json!({ "branch": "lease", "content": "x" })).await;
    assert_eq!(
        message(&nowhere),
        (400, "You can only create or edit files when you are on a branch".to_owned())
    );
    let fields = json!({ "branch": "lease", "start_branch": "main", "content": "x" });
    assert_eq!(lab.send("POST", fields.clone()).await.status, 201);
    assert_eq!(lab.client.get(&format!("{}?ref=lease", lab.path)).await.status, 200);
    assert_eq!(lab.client.get(&format!("{}?ref=main", lab.path)).await.status, 404);
    assert!(
        message(&lab.send("POST", fields).await).1.starts_with("A branch called 'lease' already exists.")
    );
    let blank = lab.send("POST", json!({ "branch": "" })).await;
    assert_eq!((blank.status, blank.json()), (400, json!({ "error": "branch is empty" })));
}

#[tokio::test]
async fn who_may_touch_files_and_variables() {
    let lab = repository();
    let admin = lab.gitlab.admin();
    lab.send("POST", json!({ "content": "x" })).await;
    let base = format!("/projects/{}/variables", lab.project);
    assert_eq!(lab.client.post(&base, json!({ "key": "K", "value": "v" })).await.status, 201);
    let member = |role, scope: &str| TokenSpec::user("m", &[scope]).in_project(lab.project, role);
    // file read, file write, variable read, variable write
    let cases = [
        (member(Role::Maintainer, "api"), [200, 200, 200, 200]),
        (member(Role::Maintainer, "read_api"), [200, 403, 200, 403]),
        (member(Role::Maintainer, "read_repository"), [200, 403, 403, 403]),
        (member(Role::Maintainer, "manage_runner"), [403, 403, 403, 403]),
        // `main` is protected: the role is enough, the branch is not.
        (member(Role::Developer, "api"), [200, 400, 403, 403]),
        (member(Role::Reporter, "api"), [200, 403, 403, 403]),
        (member(Role::Guest, "api"), [403, 403, 403, 403]),
        (TokenSpec::user("stranger", &["api"]), [404, 404, 404, 404]),
    ];
    for (spec, expected) in cases {
        let name = format!("{:?} {:?}", spec.projects.values().next(), spec.scopes);
        let client = Client::new(&lab.gitlab, &admin.create_token(spec));
        let write = json!({ "branch": "main", "commit_message": "m", "content": "y" });
        let seen = [
            client.get(&format!("{}?ref=main", lab.path)).await.status,
            client.put(&lab.path, write).await.status,
            client.get(&format!("{base}/K")).await.status,
            client.put(&format!("{base}/K"), json!({ "value": "v" })).await.status,
        ];
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test]
async fn of_a_variable_the_last_writer_wins() {
    let lab = repository();
    let base = format!("/projects/{}/variables", lab.project);
    let key = format!("{base}/HOLDER");
    let missing = lab.client.get(&key).await;
    assert_eq!(message(&missing), (404, "404 Variable Not Found".to_owned()));
    assert_eq!(lab.client.put(&key, json!({ "value": "x" })).await.status, 404);
    let body = json!({ "key": "HOLDER", "value": "nobody", "masked": true });
    assert_eq!(lab.client.post(&base, body.clone()).await.status, 201);
    let twice = lab.client.post(&base, body).await;
    assert_eq!(
        (twice.status, twice.json()),
        (400, json!({ "message": { "key": ["(HOLDER) has already been taken"] } }))
    );
    for holder in ["blue", "green"] {
        let put = lab.client.put(&key, json!({ "value": holder })).await;
        assert_eq!((put.status, &put.json()["value"]), (200, &json!(holder)));
    }
    let row = lab.client.get(&key).await.json();
    assert_eq!(
        (&row["value"], &row["masked"], &row["key"]),
        (&json!("green"), &json!(true), &json!("HOLDER"))
    );
    assert_eq!(lab.client.put(&key, json!({ "value": "x".repeat(10_001) })).await.status, 400);
    assert_eq!(lab.client.get(&base).await.json().as_array().map(Vec::len), Some(1));
    assert_eq!(lab.client.send("DELETE", &key, "application/json", "").await.status, 204);
    assert_eq!(lab.client.get(&key).await.status, 404);
}
