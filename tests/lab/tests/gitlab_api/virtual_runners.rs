//! Runners that poll inside the simulator: how they live, and how each breaks by itself.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use switchyard_lab::exposition::Page;
use switchyard_lab::gitlab::{
    Condition, JobStatus, JobTemplate, Outage, RunnerSpec, Simulator, VirtualRunner, VirtualRunners,
};

use crate::client::start;

const STATUSES: &str = "gitlab_runner_api_request_statuses_total";

#[tokio::test]
async fn virtual_runners_live_take_jobs_and_die() {
    let (gitlab, _) = start();
    let admin = gitlab.admin();
    let mut fleet = admin.virtual_runners(1000, |n| RunnerSpec::new(&format!("v{n}"), &["virtual"]));
    let last = fleet.runners[999].id;
    let born = admin.runner(last).unwrap().contact.redis_contacted_at.expect("a first sign of life");
    fleet.run(Duration::from_millis(10));
    let limit = Duration::from_secs(30);
    admin
        .until("a second sign of life", limit, |a| {
            a.runner(last).filter(|r| r.contact.redis_contacted_at > Some(born))
        })
        .await;
    let job = admin.create_job(JobTemplate::new(&["virtual"], "true"));
    assert_eq!(admin.job_over(job, limit).await.status, JobStatus::Success);
    fleet.stop();
    let orphan = admin.create_job(JobTemplate::new(&["virtual"], "true"));
    assert_eq!(admin.job(orphan).map(|j| j.status), Some(JobStatus::Pending));
}

/// A fleet of three, of which the first one breaks.
struct Fleet {
    gitlab: Simulator,
    all: VirtualRunners,
}

fn fleet() -> Fleet {
    let (gitlab, _) = start();
    let all = gitlab.admin().virtual_runners(3, |n| RunnerSpec::new(&format!("v{n}"), &["v"]));
    Fleet { gitlab, all }
}

impl Fleet {
    fn id(&self) -> u64 {
        self.all.runners[0].id
    }

    fn meet(&self, condition: Condition) {
        assert!(self.gitlab.admin().meet(self.id(), condition));
    }

    fn beats(&self, count: usize) {
        for _ in 0..count {
            self.gitlab.admin().advance(SignedDuration::from_secs(3));
            self.all.beat();
        }
    }

    fn look(&self) -> VirtualRunner {
        self.gitlab.admin().virtual_runner(self.id()).expect("it is known")
    }

    fn count(&self, status: &str) -> Option<u64> {
        self.look().statuses.get(status).copied()
    }

    /// How long GitLab has not heard of it, in seconds.
    fn silence(&self) -> i64 {
        let admin = self.gitlab.admin();
        let contacted =
            admin.runner(self.id()).and_then(|r| r.contact.redis_contacted_at).expect("a contact");
        admin.now().duration_since(contacted).as_secs()
    }
}

#[tokio::test]
async fn a_well_one_counts_from_one() {
    let fleet = fleet();
    // The first poll is at once; a status that never happened is absent.
    assert_eq!((fleet.count("204"), fleet.count("201"), fleet.count("-1")), (Some(1), None, None));
    fleet.gitlab.admin().create_job(JobTemplate::new(&["v"], "true"));
    fleet.beats(2);
    assert_eq!((fleet.count("204"), fleet.count("201"), fleet.silence()), (Some(2), Some(1), 0));
    let page = Page::parse(&fleet.look().metrics().expect("it lives"));
    assert_eq!(page.value(STATUSES, &[("endpoint", "request_job"), ("status", "204")]), Some(2.0));
    assert_eq!(page.value("gitlab_runner_worker_feed_failures_total", &[]), Some(0.0));
}

#[tokio::test]
async fn a_dead_one_falls_silent_and_comes_back_as_a_new_process() {
    let fleet = fleet();
    fleet.meet(Condition::Dead);
    fleet.beats(3);
    assert_eq!((fleet.silence(), fleet.look().metrics()), (9, None));
    // The others are well.
    let other = fleet.all.runners[1].id;
    assert_eq!(fleet.gitlab.admin().virtual_runner(other).unwrap().statuses["204"], 4);
    fleet.meet(Condition::Well);
    assert_eq!(fleet.count("204"), None, "its counters are those of a new process");
    fleet.beats(1);
    assert_eq!((fleet.count("204"), fleet.silence()), (Some(1), 0));
}

#[tokio::test]
async fn network_failures_and_outages_count_and_put_nobody_to_sleep() {
    let fleet = fleet();
    fleet.meet(Condition::Partitioned);
    fleet.beats(5);
    assert_eq!((fleet.count("-1"), fleet.count("204"), fleet.silence()), (Some(5), Some(1), 15));
    fleet.meet(Condition::Well);
    fleet.beats(1);
    assert_eq!((fleet.count("204"), fleet.silence()), (Some(2), 0));
    for (outage, status) in
        [(Outage::BadGateway, "502"), (Outage::Maintenance, "503"), (Outage::Refuse, "-1")]
    {
        let before = fleet.count(status).unwrap_or_default();
        fleet.gitlab.admin().outage(outage);
        fleet.beats(4);
        assert_eq!(fleet.count(status), Some(before + 4), "{outage:?}");
    }
    fleet.gitlab.admin().outage(Outage::None);
    fleet.beats(1);
    assert_eq!((fleet.silence(), fleet.look().feed_failures), (0, 0));
}

#[tokio::test]
async fn a_slow_answer_is_counted_when_it_comes() {
    let fleet = fleet();
    fleet.meet(Condition::Slow { ms: 9_000 });
    fleet.beats(3);
    // GitLab has heard the first poll; the loop cannot start another one meanwhile.
    assert_eq!((fleet.count("204"), fleet.look().exceeded, fleet.silence()), (Some(1), 2, 6));
    fleet.beats(1);
    assert_eq!((fleet.count("204"), fleet.silence()), (Some(2), 0));
}

#[tokio::test]
async fn a_hung_poll_leaves_everything_flat_until_its_connection_breaks() {
    let fleet = fleet();
    fleet.meet(Condition::Hung);
    fleet.beats(4);
    assert_eq!((fleet.count("204"), fleet.count("-1"), fleet.look().exceeded), (Some(1), None, 3));
    let page = Page::parse(&fleet.look().metrics().expect("it lives"));
    assert_eq!(page.value("gitlab_runner_request_concurrency", &[]), Some(1.0));
    assert_eq!(fleet.silence(), 12);
    fleet.meet(Condition::Well);
    assert_eq!(fleet.count("-1"), Some(1));
    fleet.beats(1);
    assert_eq!((fleet.count("204"), fleet.silence()), (Some(2), 0));
}

#[tokio::test]
async fn three_403s_are_an_hour_of_sleep_from_the_last_good_answer() {
    let fleet = fleet();
    fleet.meet(Condition::Forbidden);
    fleet.beats(5);
    assert_eq!((fleet.count("403"), fleet.look().health_check_failures), (Some(3), 3), "then flat");
    assert_eq!(fleet.look().feed_failures, 2);
    // That GitLab is well again does not wake it.
    fleet.meet(Condition::Well);
    fleet.gitlab.admin().advance(SignedDuration::from_mins(59));
    fleet.beats(1);
    assert_eq!(fleet.count("204"), Some(1));
    // The hour runs from the last good answer, not from the third 403.
    fleet.gitlab.admin().advance(SignedDuration::from_secs(45));
    fleet.beats(1);
    assert_eq!(fleet.count("204"), Some(2));

    // A configuration reload wakes it at once. So does nothing else.
    fleet.meet(Condition::Asleep);
    fleet.meet(Condition::Well);
    fleet.beats(3);
    assert_eq!(fleet.count("204"), Some(2));
    assert!(fleet.gitlab.admin().reload_virtual_runner(fleet.id()));
    fleet.beats(1);
    assert_eq!((fleet.count("204"), fleet.silence()), (Some(3), 0));

    // A token that is no longer known is a 403, too.
    fleet.gitlab.admin().reset_runner_token(fleet.id());
    fleet.beats(4);
    assert_eq!(fleet.count("403"), Some(6));
}

#[tokio::test]
async fn a_full_one_does_not_poll() {
    let fleet = fleet();
    fleet.meet(Condition::Full);
    fleet.beats(3);
    assert_eq!((fleet.count("204"), fleet.look().feeds, fleet.silence()), (Some(1), 1, 9));
    let page = Page::parse(&fleet.look().metrics().expect("it lives"));
    assert_eq!(page.value("gitlab_runner_jobs", &[]), page.value("gitlab_runner_concurrent", &[]));
}

#[tokio::test]
async fn each_is_switched_over_http_too() {
    let (gitlab, client) = start();
    let all = gitlab.admin().virtual_runners(1, |_| RunnerSpec::new("v", &["v"]));
    let path = format!("/virtual_runners/{}", all.runners[0].id);
    let put = async |body: serde_json::Value| {
        let url = format!("{}/-/lab{path}", gitlab.url());
        client.try_send("PUT", url, "application/json", &body.to_string()).await.unwrap().status
    };
    for body in [
        json!({ "condition": "partitioned" }),
        json!({ "condition": "slow", "ms": 10 }),
        json!({ "condition": "hung" }),
        json!({ "condition": "forbidden" }),
        json!({ "condition": "full" }),
        json!({ "condition": "asleep" }),
    ] {
        assert_eq!(put(body.clone()).await, 200, "{body}");
        assert_eq!(client.lab(&path).await.json()["condition"], body["condition"]);
    }
    assert_eq!(put(json!({ "condition": "sad" })).await, 400);
    all.beat();
    assert_eq!(client.lab(&path).await.json()["feed_failures"], 1);
    assert_eq!(client.lab_post(&format!("{path}/reload"), json!({})).await.status, 200);
    assert_eq!(put(json!({ "condition": "well" })).await, 200);
    all.beat();
    assert!(client.lab(&format!("{path}/metrics")).await.text.contains("status=\"204\""));
    assert_eq!(put(json!({ "condition": "dead" })).await, 200);
    assert_eq!(client.lab(&format!("{path}/metrics")).await.status, 404);
    assert_eq!(client.lab("/virtual_runners/999").await.status, 404);
}
