//! Runner processes against the simulated GitLab: jobs, signals, and what their metrics show.
//!
//! `SWITCHYARD_LAB_RUNNER` runs the same against a real gitlab-runner.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use switchyard_lab::gitlab::{
    Config, Fault, Job, JobStatus, JobTemplate, Kind, Match, Outage, RunnerSpec, Simulator,
};
use switchyard_lab::runner::{Process, Setup};
use switchyard_lab::wait::{PATIENCE, until};

const STATUSES: &str = "gitlab_runner_api_request_statuses_total";
const DURATION: &str = "gitlab_runner_api_request_duration_seconds";
const ATTEMPTS: &str = "gitlab_runner_api_request_retries_total";

struct Lab {
    gitlab: Simulator,
    id: u64,
    token: String,
    dir: tempfile::TempDir,
}

fn lab() -> Lab {
    let gitlab = Simulator::start(Config::default());
    let record = gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a", "rnd-runner"]));
    Lab { gitlab, id: record.id, token: record.token, dir: tempfile::tempdir().expect("a directory") }
}

impl Lab {
    fn setup(&self) -> Setup {
        Setup::new("blue", &self.gitlab.url(), &self.token).check_interval(0.1)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn job(&self, script: &str) -> u64 {
        self.gitlab.admin().create_job(JobTemplate::new(&["rnd-runner"], script))
    }

    async fn over(&self, job: u64) -> Job {
        self.gitlab.admin().job_over(job, PATIENCE).await
    }

    async fn running(&self, job: u64, text: &str) {
        let look = |admin: &switchyard_lab::gitlab::Admin| {
            admin.job(job).filter(|j| j.status == JobStatus::Running && j.log().contains(text)).map(|_| ())
        };
        self.gitlab.admin().until(&format!("job {job} runs"), PATIENCE, look).await;
    }
}

/// Waits until a series has at least this value.
async fn reaches(runner: &Process, name: &str, labels: &[(&str, &str)], least: f64) -> Result<f64> {
    let what = format!("{name}{labels:?} reaches {least}");
    until(PATIENCE, &what, async || {
        let page = runner.metrics().await?;
        let value =
            page.value(name, labels).with_context(|| format!("no {name}{labels:?} in\n{}", page.text()))?;
        ensure!(value >= least, "{value}");
        Ok(value)
    })
    .await
}

async fn polls(runner: &Process, status: &str, least: f64) -> Result<f64> {
    reaches(runner, STATUSES, &[("endpoint", "request_job"), ("status", status)], least).await
}

#[tokio::test]
async fn it_runs_a_job_and_streams_its_log() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    let job = lab.over(lab.job("echo on $CI_RUNNER_DESCRIPTION; pwd")).await;
    assert_eq!(
        (job.status, job.runner),
        (JobStatus::Success, Some(lab.id)),
        "{}\n{}",
        job.log(),
        runner.tail()
    );
    assert!(job.log().contains("on blue"), "{}", job.log());
    assert_eq!(job.system_id.as_deref(), Some("s_blue00000000"));
    let failed = lab.over(lab.job("echo before; exit 3; echo after")).await;
    assert_eq!(
        (failed.status, failed.failure_reason.as_deref()),
        (JobStatus::Failed, Some("script_failure"))
    );
    assert!(!failed.log().contains("\nafter"), "{}", failed.log());
    let manager = &lab.gitlab.admin().runner(lab.id).unwrap().managers["s_blue00000000"];
    assert_eq!(manager.executor.as_deref(), Some("shell"));
    Ok(())
}

#[tokio::test]
async fn artifacts_make_the_round_trip() -> Result<()> {
    let lab = lab();
    let _runner = Process::start(lab.setup(), lab.dir()).await?;
    let project = lab.gitlab.admin().project();
    let build = JobTemplate {
        name: "build".to_owned(),
        artifacts: vec!["out/".to_owned()],
        ..JobTemplate::new(&["rnd-runner"], "mkdir -p out && echo precious > out/file")
    };
    let test = JobTemplate {
        name: "test".to_owned(),
        needs: vec!["build".to_owned()],
        ..JobTemplate::new(&["rnd-runner"], "cat out/file")
    };
    lab.gitlab.admin().set_ci(project.id, vec![build, test]);
    let url = format!("{}/api/v4/projects/{}/trigger/pipeline", lab.gitlab.url(), project.id);
    let body = serde_json::json!({ "token": project.trigger_token, "ref": "main" });
    let answer = switchyard_lab::http::client().post(url).json(&body).send().await?;
    assert_eq!(answer.status(), 201);
    let state = lab.gitlab.admin().state();
    let id =
        state["jobs"].as_array().and_then(|j| j.last()).and_then(|j| j["id"].as_u64()).context("a job")?;
    let job = lab.over(id).await;
    assert_eq!(job.status, JobStatus::Success, "{}", job.log());
    assert!(job.log().contains("precious"), "{}", job.log());
    Ok(())
}

#[tokio::test]
async fn its_metrics_have_the_names_and_births_of_a_gitlab_runner() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    polls(&runner, "204", 2.0).await?;
    let page = runner.metrics().await?;
    for absent in ["201", "403", "-1"] {
        assert_eq!(page.value(STATUSES, &[("status", absent)]), None, "{absent} before it happened");
    }
    let short = &lab.token.trim_start_matches("glrt-t1_")[..9];
    let labels = [
        ("runner", short),
        ("system_id", "s_blue00000000"),
        ("endpoint", "request_job"),
        ("method", "post"),
        ("status", "204"),
    ];
    assert!(page.value(STATUSES, &labels).is_some(), "{}", page.text());
    assert_eq!(page.value("gitlab_runner_concurrent", &[]), Some(1.0));
    assert_eq!(page.value("gitlab_runner_process_state_info", &[]), Some(1.0));
    assert_eq!(page.value("gitlab_runner_process_state_info", &[("state", "running")]), Some(1.0));
    assert_eq!(page.value("gitlab_runner_worker_feed_failures_total", &[("runner_name", "blue")]), Some(0.0));
    assert_eq!(page.value("gitlab_runner_worker_health_check_failures_total", &[]), Some(0.0));
    assert_eq!(page.value("gitlab_runner_errors_total", &[("level", "error")]), Some(0.0));
    assert_eq!(page.value("gitlab_runner_jobs", &[("state", "idle")]), Some(0.0));
    assert_eq!(page.value("gitlab_runner_version_info", &[("name", "gitlab-runner")]), Some(1.0));
    assert!(page.value("process_start_time_seconds", &[]) > Some(1.7e9));
    assert!(page.text().contains(&format!("# TYPE {STATUSES} counter")));
    let polled = page.value(STATUSES, &labels);
    let class = [("runner", short), ("system_id", "s_blue00000000"), ("endpoint", "request_job")];
    let counted = |part: &str, more: &[(&str, &str)]| {
        let all = [("status_class", "2xx"), ("method", "post")];
        page.value(&format!("{DURATION}_{part}"), &[class.as_slice(), &all, more].concat())
    };
    assert_eq!(counted("count", &[]), polled, "{}", page.text());
    assert_eq!(counted("bucket", &[("le", "+Inf")]), polled);
    assert!(counted("bucket", &[("le", "0.1")]) <= counted("bucket", &[("le", "60")]));
    assert!(counted("sum", &[]) > Some(0.0));
    assert!(page.text().contains(&format!("# TYPE {DURATION} histogram")));
    lab.over(lab.job("true")).await;
    polls(&runner, "201", 1.0).await?;
    reaches(&runner, ATTEMPTS, &[("path", "/api/v4/jobs/:id"), ("method", "put")], 1.0).await?;
    reaches(&runner, STATUSES, &[("endpoint", "update_job"), ("method", "put"), ("status", "200")], 1.0)
        .await?;
    reaches(&runner, STATUSES, &[("endpoint", "patch_trace"), ("method", "patch"), ("status", "202")], 1.0)
        .await?;
    reaches(&runner, "gitlab_runner_jobs_total", &[], 1.0).await?;
    Ok(())
}

/// A moved tag needs no reload: the next poll takes the job.
#[tokio::test]
async fn it_follows_the_tag() -> Result<()> {
    let lab = lab();
    lab.gitlab.admin().set_tags(lab.id, &["runner-a"]);
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    let job = lab.job("true");
    polls(&runner, "204", 3.0).await?;
    assert_eq!(lab.gitlab.admin().job(job).map(|j| j.status), Some(JobStatus::Pending));
    lab.gitlab.admin().set_tags(lab.id, &["runner-a", "rnd-runner"]);
    assert_eq!(lab.over(job).await.status, JobStatus::Success);
    Ok(())
}

#[tokio::test]
async fn a_full_runner_does_not_poll() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    let flag = lab.dir().join("go");
    let job = lab.job(&format!("echo begun; until test -e {}; do sleep 0.1; done", flag.display()));
    polls(&runner, "201", 1.0).await?;
    reaches(&runner, "gitlab_runner_jobs", &[], 1.0).await?;
    let before = runner.metrics().await?;
    // The first log of a job comes after three seconds: thirty check intervals.
    lab.running(job, "begun").await;
    let after = runner.metrics().await?;
    let count =
        |page: &switchyard_lab::exposition::Page| page.value(STATUSES, &[("endpoint", "request_job")]);
    assert_eq!(count(&before), count(&after));
    std::fs::write(flag, "")?;
    assert_eq!(lab.over(job).await.status, JobStatus::Success);
    let polled = count(&after).unwrap_or_default();
    reaches(&runner, STATUSES, &[("endpoint", "request_job")], polled + 2.0).await?;
    Ok(())
}

#[tokio::test]
async fn a_gitlab_that_is_away_counts_as_minus_one_and_puts_nobody_to_sleep() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    polls(&runner, "204", 1.0).await?;
    lab.gitlab.admin().outage(Outage::Refuse);
    polls(&runner, "-1", 5.0).await?;
    assert_eq!(runner.metrics().await?.value("gitlab_runner_worker_feed_failures_total", &[]), Some(0.0));
    lab.gitlab.admin().outage(Outage::BadGateway);
    polls(&runner, "502", 1.0).await?;
    // The attempts inside one request are counted apart, and its time goes by the class of its end.
    let page = runner.metrics().await?;
    let polled = page.value(STATUSES, &[("endpoint", "request_job")]).unwrap_or_default();
    let attempts = page.value(ATTEMPTS, &[("path", "/api/v4/jobs/request"), ("method", "post")]);
    assert!(attempts >= Some(polled + 4.0), "{}", page.text());
    let unknown = page.value(STATUSES, &[("endpoint", "request_job"), ("status", "-1")]);
    assert_eq!(page.value(&format!("{DURATION}_count"), &[("status_class", "unknown")]), unknown);
    assert!(page.value(&format!("{DURATION}_sum"), &[("status_class", "5xx")]) > Some(1.0));
    lab.gitlab.admin().outage(Outage::None);
    let before = runner.metrics().await?.value(STATUSES, &[("status", "204")]).unwrap_or_default();
    polls(&runner, "204", before + 2.0).await?;
    assert_eq!(lab.over(lab.job("true")).await.status, JobStatus::Success);
    Ok(())
}

#[tokio::test]
async fn three_403s_put_it_to_sleep_until_a_reload() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    lab.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Forbidden));
    reaches(&runner, "gitlab_runner_worker_feed_failures_total", &[], 3.0).await?;
    lab.gitlab.admin().clear_faults();
    let page = runner.metrics().await?;
    assert_eq!(page.value(STATUSES, &[("status", "403")]), Some(3.0));
    assert_eq!(page.value("gitlab_runner_worker_health_check_failures_total", &[]), Some(3.0));
    assert_eq!(page.value("gitlab_runner_errors_total", &[("level", "error")]), Some(4.0));
    // GitLab is back; the runner does not notice.
    let asleep = page.value("gitlab_runner_worker_feed_failures_total", &[]).unwrap_or_default();
    let good = page.value(STATUSES, &[("status", "204")]);
    reaches(&runner, "gitlab_runner_worker_feed_failures_total", &[], asleep + 5.0).await?;
    assert_eq!(runner.metrics().await?.value(STATUSES, &[("status", "204")]), good);
    runner.hangup()?;
    polls(&runner, "204", good.unwrap_or_default() + 1.0).await?;
    reaches(&runner, "gitlab_runner_configuration_loaded_total", &[], 2.0).await?;
    Ok(())
}

#[tokio::test]
async fn its_sleep_ends_by_itself_after_the_interval() -> Result<()> {
    let lab = lab();
    let setup = lab.setup().unhealthy_interval(Duration::from_secs(2));
    lab.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Forbidden).times(3));
    let runner = Process::start(setup, lab.dir()).await?;
    polls(&runner, "403", 3.0).await?;
    reaches(&runner, "gitlab_runner_worker_feed_failures_total", &[], 1.0).await?;
    polls(&runner, "204", 1.0).await?;
    Ok(())
}

#[tokio::test]
async fn sigterm_fails_the_job_and_sigquit_finishes_it() -> Result<()> {
    let lab = lab();
    let mut runner = Process::start(lab.setup(), lab.dir()).await?;
    let job = lab.job("echo begun; sleep 600");
    lab.running(job, "begun").await;
    assert!(runner.stop().await?.success());
    let failed = lab.over(job).await;
    assert_eq!(failed.status, JobStatus::Failed);
    // A gitlab-runner since 19.1 says `runner_interrupted`, or what GitLab knows instead of it.
    let reasons = ["runner_system_failure", "runner_interrupted", "unknown_failure"];
    assert!(
        reasons.contains(&failed.failure_reason.as_deref().unwrap_or_default()),
        "{:?}",
        failed.failure_reason
    );

    runner.revive().await?;
    let flag = lab.dir().join("go");
    let job = lab.job(&format!("echo begun; until test -e {}; do sleep 0.1; done", flag.display()));
    lab.running(job, "begun").await;
    runner.drain()?;
    reaches(&runner, "gitlab_runner_process_state_info", &[("state", "graceful-shutdown")], 1.0).await?;
    let queued = lab.job("true");
    std::fs::write(flag, "")?;
    assert!(runner.ended(PATIENCE).await?.success());
    assert_eq!(lab.over(job).await.status, JobStatus::Success);
    assert_eq!(lab.gitlab.admin().job(queued).map(|j| j.status), Some(JobStatus::Pending));
    Ok(())
}

/// The `request_job` count of the section with this token, over all statuses.
async fn section_polls(runner: &Process, token: &str) -> Result<f64> {
    let short: String = token.trim_start_matches("glrt-t1_").chars().take(9).collect();
    let page = runner.metrics().await?;
    let labels = [("runner", short.as_str()), ("endpoint", "request_job")];
    Ok(page.value(STATUSES, &labels).unwrap_or_default())
}

async fn section_polls_on(runner: &Process, token: &str) -> Result<()> {
    let wanted = section_polls(runner, token).await? + 3.0;
    until(PATIENCE, "the section polls", async || {
        let polls = section_polls(runner, token).await?;
        ensure!(polls >= wanted, "{polls} of {wanted}");
        Ok(())
    })
    .await
}

/// `concurrent` is of the process: while one section's job takes the only slot, the loop stands still for the others,
/// however idle they are.
#[tokio::test]
async fn one_blocked_loop_serves_all_sections() -> Result<()> {
    let lab = lab();
    let second = lab.gitlab.admin().create_runner(RunnerSpec::new("second", &["other"]));
    let setup = || lab.setup().section("second", &second.token);
    let mut runner = Process::start(setup(), lab.dir()).await?;
    section_polls_on(&runner, &lab.token).await?;
    section_polls_on(&runner, &second.token).await?;
    let page = runner.metrics().await?;
    for name in ["blue", "second"] {
        assert_eq!(page.value("gitlab_runner_limit", &[("runner_name", name)]), Some(0.0), "{}", page.text());
    }
    assert_eq!(page.value("gitlab_runner_concurrent", &[]), Some(1.0), "of the process");
    // One process, one name, two records.
    for id in [lab.id, second.id] {
        let managers = lab.gitlab.admin().runner(id).unwrap().managers.clone();
        assert_eq!(managers.keys().collect::<Vec<_>>(), ["s_blue00000000"]);
    }

    let flag = lab.dir().join("go");
    let script = format!("echo begun; until test -e {}; do sleep 0.1; done", flag.display());
    let job = lab.job(&script);
    polls(&runner, "201", 1.0).await?;
    let other = lab.gitlab.admin().create_job(JobTemplate::new(&["other"], "true"));
    let before = section_polls(&runner, &second.token).await?;
    // The first log of a job comes after three seconds: thirty check intervals.
    lab.running(job, "begun").await;
    assert_eq!(section_polls(&runner, &second.token).await?, before, "its job waits for the other section's");
    assert_eq!(lab.gitlab.admin().job(other).map(|j| j.status), Some(JobStatus::Pending));
    std::fs::write(&flag, "")?;
    let (job, other) = (lab.over(job).await, lab.over(other).await);
    assert_eq!((job.runner, other.runner), (Some(lab.id), Some(second.id)));

    // With a slot to spare the loop goes on.
    runner.kill9().await?;
    std::fs::remove_file(&flag)?;
    let runner = Process::start(setup().concurrent(2), lab.dir()).await?;
    let job = lab.job(&script);
    polls(&runner, "201", 1.0).await?;
    section_polls_on(&runner, &second.token).await?;
    assert_eq!(lab.gitlab.admin().job(job).map(|j| j.status), Some(JobStatus::Running));
    std::fs::write(&flag, "")?;
    assert_eq!(lab.over(job).await.status, JobStatus::Success);
    Ok(())
}

/// With one slot a held poll keeps every other section waiting, too: each polls once per sections times hold.
#[tokio::test]
async fn a_held_poll_of_one_section_blocks_the_others() -> Result<()> {
    let gitlab = Simulator::start(Config { long_poll: Duration::from_secs(50), ..Config::default() });
    let dir = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|n| gitlab.admin().create_runner(RunnerSpec::new(n, &[n])));
    let setup = Setup::new("first", &gitlab.url(), &first.token).section("second", &second.token);
    let runner = Process::start(setup.check_interval(0.1), dir.path()).await?;
    let admin = gitlab.admin();
    // Each has polled once and knows its queue value; then one is held, and the other cannot be polled.
    let held = |admin: &switchyard_lab::gitlab::Admin| {
        (admin.held_polls(first.id) + admin.held_polls(second.id) == 1).then_some(())
    };
    admin.until("one held poll", PATIENCE, held).await;
    let (holding, waiting) =
        if admin.held_polls(first.id) == 1 { (&first, &second) } else { (&second, &first) };
    let tag = admin.tags(waiting.id).concat();
    let job = admin.create_job(JobTemplate::new(&[&tag], "true"));
    let before = section_polls(&runner, &waiting.token).await?;
    reaches(&runner, "gitlab_runner_request_concurrency", &[], 1.0).await?;
    assert_eq!(admin.job(job).map(|j| j.status), Some(JobStatus::Pending));
    assert_eq!(section_polls(&runner, &waiting.token).await?, before);
    // What ends the held poll lets the loop go on to the section that waits.
    admin.edit_runner(holding.id, |_| {});
    assert_eq!(admin.job_over(job, PATIENCE).await.runner, Some(waiting.id));
    Ok(())
}

/// Sleep is of a section: its token is refused, the others are not.
#[tokio::test]
async fn only_the_refused_section_falls_asleep() -> Result<()> {
    let lab = lab();
    let second = lab.gitlab.admin().create_runner(RunnerSpec::new("second", &["other"]));
    let refused = Match { body: Some(second.token.clone()), ..Match::operation("^request_job$") };
    lab.gitlab.admin().fault(Fault::new(refused, Kind::Forbidden));
    let runner = Process::start(lab.setup().section("second", &second.token), lab.dir()).await?;
    let asleep = "gitlab_runner_worker_feed_failures_total";
    reaches(&runner, asleep, &[("runner_name", "second")], 3.0).await?;
    assert_eq!(section_polls(&runner, &second.token).await?, 3.0);
    section_polls_on(&runner, &lab.token).await?;
    assert_eq!(runner.metrics().await?.value(asleep, &[("runner_name", "blue")]), Some(0.0));
    assert_eq!(lab.over(lab.job("true")).await.status, JobStatus::Success);
    Ok(())
}

/// A machine that dies leaves its job running; the revived runner does not know it.
#[tokio::test]
async fn kill_9_leaves_the_job_running_and_no_process_behind() -> Result<()> {
    let lab = lab();
    let mut runner = Process::start(lab.setup(), lab.dir()).await?;
    let pid = lab.dir().join("pid");
    let job = lab.job(&format!("echo $$ > {}; echo begun; sleep 600", pid.display()));
    lab.running(job, "begun").await;
    runner.kill9().await?;
    assert!(runner.metrics().await.is_err());
    let script: i32 = std::fs::read_to_string(&pid)?.trim().parse()?;
    until(PATIENCE, "the script is gone", async || {
        let path = format!("/proc/{script}/stat");
        let state = std::fs::read_to_string(path).unwrap_or_default();
        ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    })
    .await?;
    runner.revive().await?;
    let next = lab.over(lab.job("true")).await;
    assert_eq!(next.status, JobStatus::Success);
    assert_eq!(lab.gitlab.admin().job(job).map(|j| j.status), Some(JobStatus::Running));
    Ok(())
}

#[tokio::test]
async fn a_canceled_job_stops() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    let job = lab.job("while true; do echo tick; sleep 0.2; done");
    lab.running(job, "tick").await;
    lab.gitlab.admin().cancel_job(job);
    // It is free again: it takes the next one.
    assert_eq!(lab.over(lab.job("true")).await.status, JobStatus::Success, "{}", runner.tail());
    Ok(())
}

/// With long polling an idle runner's held poll ends by the tag's arrival, not by its hold.
#[tokio::test]
async fn a_held_poll_ends_when_the_tag_comes() -> Result<()> {
    let gitlab = Simulator::start(Config { long_poll: Duration::from_secs(50), ..Config::default() });
    let dir = tempfile::tempdir()?;
    let record = gitlab.admin().create_runner(RunnerSpec::new("green", &["runner-b"]));
    let setup = Setup::new("green", &gitlab.url(), &record.token).check_interval(0.1);
    let mut runner = Process::start(setup, dir.path()).await?;
    let held = |admin: &switchyard_lab::gitlab::Admin| (admin.held_polls(record.id) == 1).then_some(());
    gitlab.admin().until("a held poll", PATIENCE, held).await;
    let job = gitlab.admin().create_job(JobTemplate::new(&["rnd-runner"], "true"));
    gitlab.admin().set_tags(record.id, &["runner-b", "rnd-runner"]);
    let job = gitlab.admin().job_over(job, Duration::from_secs(40)).await;
    assert_eq!(job.status, JobStatus::Success);
    // A held poll does not keep it from ending.
    gitlab.admin().until("held again", PATIENCE, held).await;
    runner.drain()?;
    assert!(runner.ended(Duration::from_secs(20)).await?.success());
    Ok(())
}

/// GitLab is away when the job ends, and answers get lost: the result and the whole log arrive all the same.
#[tokio::test]
async fn a_result_survives_an_outage() -> Result<()> {
    let lab = lab();
    let runner = Process::start(lab.setup(), lab.dir()).await?;
    let flag = lab.dir().join("go");
    let job =
        lab.job(&format!("echo begun; until test -e {}; do sleep 0.1; done; echo over", flag.display()));
    lab.running(job, "begun").await;
    lab.gitlab.admin().fault(Fault::new(Match::operation("^patch_trace$"), Kind::ResetAfterCommit).times(1));
    lab.gitlab.admin().fault(Fault::new(Match::operation("^update_job$"), Kind::ResetBefore).times(1));
    std::fs::write(flag, "")?;
    let job = lab.over(job).await;
    assert_eq!(job.status, JobStatus::Success, "{}", runner.tail());
    assert_eq!(job.log().matches("\nover\n").count(), 1, "{}", job.log());
    reaches(&runner, STATUSES, &[("endpoint", "update_job"), ("status", "-1")], 1.0).await?;
    Ok(())
}
