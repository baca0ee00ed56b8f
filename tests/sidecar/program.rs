//! The program beside a runner process of the laboratory, and as an exec probe.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use switchyard::sidecar::State;
use switchyard_lab::{
    clock::WallClock,
    exposition::Page,
    gitlab::{Config, Fault, JobTemplate, Kind, Match, Outage, RunnerSpec, Simulator},
    http, metric_docs,
    parts::or_skip,
    ports,
    process::{Process, Program},
    runner::{self, Setup},
    wait::{PATIENCE, until},
};

use super::BINARY;

struct Scene {
    gitlab: Simulator,
    runner: runner::Process,
    sidecar: Process,
    url: String,
    dir: tempfile::TempDir,
}

const NO_PROXY_THERE: &str = "http://127.0.0.1:1";

impl Scene {
    /// GitLab that answers polls at once, a runner that asks ten times a second, and the sidecar.
    async fn start() -> Result<Self> {
        Self::with(1, &[], None).await
    }

    /// The same with so many jobs at once, further sections, and a clock for the sidecar.
    async fn with(concurrent: usize, sections: &[&str], clock: Option<&WallClock>) -> Result<Self> {
        let gitlab = Simulator::start(Config::default());
        let record = gitlab.admin().create_runner(RunnerSpec::new("blue", &["rnd-runner"]));
        let dir = tempfile::tempdir()?;
        let setup = Setup::new("blue", &gitlab.url(), &record.token);
        let setup = setup.check_interval(0.1).concurrent(concurrent);
        let setup = sections.iter().fold(setup, |setup, name| {
            setup.section(name, &gitlab.admin().create_runner(RunnerSpec::new(name, &[name])).token)
        });
        let runner = runner::Process::start(setup, dir.path()).await?;
        let address = ports::free_address()?;
        let page = format!("http://{}/metrics", runner.metrics_addr());
        let env = clock.into_iter().flat_map(WallClock::env);
        let sidecar = env
            .fold(Program::new("sidecar", BINARY), |program, (name, value)| program.env(name, value))
            .args(["sidecar", "--period=100ms", "--runner.check-interval=1s", "--runner.hold=1s"])
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--runner.url={page}"))
            // Where jobs need a proxy, the pod names one; the runner beside is asked directly.
            .env("http_proxy", NO_PROXY_THERE)
            .start(dir.path())?;
        Ok(Self { gitlab, runner, sidecar, url: format!("http://{address}"), dir })
    }

    /// Waits for a state with its answers for kubelet.
    async fn becomes(&self, state: State) -> Result<()> {
        until(PATIENCE, &format!("{state}; {}", self.sidecar.tail()), async || {
            for (path, good) in [("livez", state.live()), ("readyz", state.ready())] {
                let answer = http::client().get(format!("{}/{path}", self.url)).send().await?;
                let (status, text) = (answer.status().as_u16(), answer.text().await?);
                ensure!(text.starts_with(&format!("{state}:")), "{text}");
                ensure!(status == if good { 200 } else { 503 }, "/{path}: {status}: {text}");
            }
            let page =
                Page::parse(&http::client().get(format!("{}/metrics", self.url)).send().await?.text().await?);
            ensure!(page.value("switchyard_sidecar_state", &[("state", state.as_str())]) == Some(1.0));
            ensure!(page.value("switchyard_sidecar_state", &[]) == Some(1.0), "one state at a time");
            Ok(())
        })
        .await
    }

    async fn probe(&self, aspect: &str, file: &Path) -> Result<(Option<i32>, String)> {
        let output = tokio::process::Command::new(BINARY)
            .args([
                "probe",
                aspect,
                "--period=1s",
                "--runner.check-interval=1s",
                "--runner.hold=1s",
                "--tries=2",
            ])
            .arg(format!("--runner.url=http://{}/metrics", self.runner.metrics_addr()))
            .arg("--state-file")
            .arg(file)
            .env("http_proxy", NO_PROXY_THERE)
            .kill_on_drop(true)
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }
}

#[tokio::test]
async fn beside_a_runner_it_follows_what_happens() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.becomes(State::Polling).await?;

    let flag = scene.dir.path().join("go");
    let script = format!("until test -e {}; do sleep 0.1; done", flag.display());
    let job = scene.gitlab.admin().create_job(JobTemplate::new(&["rnd-runner"], &script));
    scene.becomes(State::Full).await?;
    std::fs::write(flag, "")?;
    scene.gitlab.admin().job_over(job, PATIENCE).await;
    scene.becomes(State::Polling).await?;
    metric_docs::compare(
        "sidecar",
        &http::client().get(format!("{}/metrics", scene.url)).send().await?.text().await?,
        // Its first series comes with the first connection that ends.
        &["switchyard_web_connections_closed_total"],
    );

    // Not ready and always alive, however GitLab fails.
    for outage in [Outage::Refuse, Outage::BadGateway, Outage::Maintenance] {
        scene.gitlab.admin().outage(outage);
        scene.becomes(State::GitlabUnreachable).await?;
        scene.gitlab.admin().outage(Outage::None);
        scene.becomes(State::Polling).await?;
    }
    // What it is asked by another name is refused, which lets no runner sleep but by 403.
    for (status, state) in [(401, State::Refused), (404, State::Refused), (429, State::GitlabUnreachable)] {
        let answer = Kind::Status { status, body: String::new() };
        scene.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), answer));
        scene.becomes(state).await?;
        scene.gitlab.admin().clear_faults();
        scene.becomes(State::Polling).await?;
    }

    // Three 403s: asleep for an hour, although GitLab is well again.
    scene.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Forbidden).times(3));
    scene.becomes(State::Asleep).await?;
    scene.runner.hangup()?;
    scene.becomes(State::Polling).await?;

    // The preStop hook of a runner that does not show its shutdown.
    let drain = || http::client().post(format!("{}/drain", scene.url));
    assert_eq!(drain().send().await?.status(), 200);
    scene.becomes(State::Draining).await?;

    scene.runner.kill9().await?;
    scene.becomes(State::Dead).await?;
    scene.runner.revive().await?;
    scene.becomes(State::Polling).await?;

    // SIGQUIT: a runner that shows it, with a job that goes on.
    let flag = scene.dir.path().join("end");
    let script = format!("until test -e {}; do sleep 0.1; done", flag.display());
    let job = scene.gitlab.admin().create_job(JobTemplate::new(&["rnd-runner"], &script));
    scene.becomes(State::Full).await?;
    scene.runner.drain()?;
    scene.becomes(State::Draining).await?;
    std::fs::write(flag, "")?;
    scene.gitlab.admin().job_over(job, PATIENCE).await;
    scene.becomes(State::Dead).await?;
    let log = scene.sidecar.tail();
    assert!(log.contains("state=asleep") && log.contains("state=dead"), "{log}");
    assert!(scene.sidecar.terminate(PATIENCE).await?.success());
    Ok(())
}

/// A GitLab that takes requests and answers none: no restart helps.
#[tokio::test]
async fn beside_a_runner_whose_gitlab_hangs_it_says_so_and_that_it_lives() -> Result<()> {
    // Another worker shows that it is kept from asking; the only one shows nothing.
    for (workers, state) in [(2, State::Stuck), (1, State::Blocked)] {
        let scene = Scene::with(workers, &[], None).await?;
        scene.becomes(State::Polling).await?;
        scene.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Hang));
        scene.becomes(state).await?;
    }
    Ok(())
}

/// Its counters stay on the runner's page. Otherwise the runner would be taken for blocked until it is started anew.
#[tokio::test]
async fn beside_a_runner_a_section_that_is_taken_out_is_forgotten() -> Result<()> {
    let mut scene = Scene::with(1, &["second"], None).await?;
    let sidecar = async || {
        let page = http::client().get(format!("{}/metrics", scene.url)).send().await?.text().await?;
        Ok::<_, anyhow::Error>(Page::parse(&page))
    };
    let polling = ("switchyard_sidecar_section_state", [("state", "polling")]);
    until(PATIENCE, "both sections poll", async || {
        ensure!(sidecar().await?.value(polling.0, &polling.1) == Some(2.0));
        Ok(())
    })
    .await?;
    scene.runner.take_out("second")?;
    let counted = "gitlab_runner_worker_feeds_total";
    let second = [("runner_name", "second")];
    until(PATIENCE, "one section is configured", async || {
        let page = scene.runner.metrics().await?;
        ensure!(
            page.value("gitlab_runner_limit", &second).is_none() && page.value(counted, &second) > Some(0.0)
        );
        Ok(())
    })
    .await?;
    // Until the other one has been polling alone for longer than the quiet time of 3.1 s.
    let asked = "switchyard_sidecar_last_request_timestamp_seconds";
    let mut since = None;
    until(PATIENCE, "one section is judged, long after the other one fell silent", async || {
        let page = sidecar().await?;
        let states = page.value("switchyard_sidecar_section_state", &[]);
        ensure!(states == Some(1.0), "{states:?} sections");
        let at = page.value(asked, &[]).context("no request yet")?;
        let since = *since.get_or_insert(at);
        ensure!(at > since + 5.0, "{at} after {since}");
        Ok(())
    })
    .await?;
    scene.becomes(State::Polling).await?;
    ensure!(scene.runner.metrics().await?.value(counted, &second) > Some(0.0), "its counter is gone");
    Ok(())
}

/// Otherwise a runner that stopped asking would count as ready for as long as the clock was set back.
#[tokio::test]
async fn beside_a_runner_a_clock_that_is_set_back_hides_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(clock) = or_skip(WallClock::new(dir.path(), "time")) else { return Ok(()) };
    let scene = Scene::with(1, &[], Some(&clock)).await?;
    scene.becomes(State::Polling).await?;
    scene.gitlab.admin().fault(Fault::new(Match::operation("^request_job$"), Kind::Hang));
    clock.set("-1h")?;
    scene.becomes(State::Blocked).await?;
    scene.gitlab.admin().clear_faults();
    Ok(())
}

#[tokio::test]
async fn as_an_exec_probe_it_remembers_what_it_saw() -> Result<()> {
    let mut scene = Scene::start().await?;
    let file = scene.dir.path().join("probe.json");
    until(PATIENCE, "the runner is ready", async || {
        let (code, said) = scene.probe("ready", &file).await?;
        ensure!(code == Some(0) && said.starts_with("polling:"), "{said}");
        Ok(())
    })
    .await?;
    scene.gitlab.admin().outage(Outage::Refuse);
    until(PATIENCE, "the runner is not ready", async || {
        let (code, said) = scene.probe("ready", &file).await?;
        ensure!(code == Some(1) && said.starts_with("gitlab_unreachable:"), "{said}");
        Ok(())
    })
    .await?;
    assert_eq!(scene.probe("live", &file).await?.0, Some(0), "GitLab is away, and the runner lives");
    // Where nothing can be remembered, a runner that answers is alive all the same; more is not known.
    let nowhere = Path::new("/proc/nowhere");
    for (aspect, wanted) in [("live", 0), ("ready", 2)] {
        let (code, said) = scene.probe(aspect, nowhere).await?;
        assert!(code == Some(wanted) && said.contains("--state-file"), "{aspect}: {code:?} {said}");
    }
    scene.runner.kill9().await?;
    assert_eq!(scene.probe("live", &file).await?.0, Some(0), "once is no proof");
    let (code, said) = scene.probe("live", &file).await?;
    assert!(code == Some(1) && said.starts_with("dead:"), "{said}");
    // kubelet starts the container anew, and the file is on a volume: the new one may be silent as often as the first.
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let container = kept["container"].as_u64().context("which container it is")?;
    kept["container"] = json!(container + 1);
    std::fs::write(&file, kept.to_string())?;
    let (code, said) = scene.probe("live", &file).await?;
    assert!(code == Some(0) && said.starts_with("unknown:"), "{said}");
    let (code, said) = scene.probe("live", &file).await?;
    assert!(code == Some(1) && said.starts_with("dead:"), "{said}");
    let (code, said) = scene.probe("live", nowhere).await?;
    assert!(code == Some(2) && said.contains("--state-file"), "{said}");
    Ok(())
}

/// kubelet sends no password, shows no certificate and verifies none. What it took for "dead" would restart the runner.
#[tokio::test]
async fn users_and_tls_never_shut_kubelet_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (web, address) = (dir.path().join("web.yml"), ports::free_address()?);
    let start = |name: &str| {
        Program::new(name, BINARY)
            .args(["sidecar", "--period=100ms", "--runner.url=http://127.0.0.1:1/metrics"])
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--web.config.file={}", web.display()))
            .start(dir.path())
    };
    std::fs::write(&web, json!({ "basic_auth_users": { "ali": "no hash" } }).to_string())?;
    let mut refused = start("refused")?;
    let code = until(PATIENCE, "it has ended", async || refused.exited()?.context("it runs")).await?;
    assert!(code.code() == Some(2) && refused.tail().contains("basic_auth_users"), "{}", refused.tail());

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let tls = |auth: &str| {
        json!({
            "tls_server_config": {
                "cert": made.cert.pem(), "key": made.signing_key.serialize_pem(), "client_auth_type": auth,
                "client_ca": made.cert.pem(),
            },
            "basic_auth_users": { "ali": bcrypt::hash("open sesame", 4).expect("a hash") },
        })
        .to_string()
    };
    std::fs::write(&web, tls("VerifyClientCertIfGiven"))?;
    let mut sidecar = start("sidecar")?;
    let kubelet = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        // Each request sees the file as it is then.
        .pool_max_idle_per_host(0)
        .build()?;
    let url = |path: &str| format!("https://{address}/{path}");
    let dead = async || {
        until(PATIENCE, "kubelet hears that the runner is dead", async || {
            for path in ["livez", "readyz"] {
                let answer = kubelet.get(url(path)).send().await?;
                let (status, text) = (answer.status(), answer.text().await?);
                ensure!(status == 503 && text.starts_with("dead:"), "/{path}: {status}: {text}");
            }
            Ok(())
        })
        .await
    };
    sidecar.ready(PATIENCE, &dead).await?;
    for path in ["metrics", "-/healthy", "", "drain"] {
        let answer = kubelet.post(url(path)).send().await?;
        assert_eq!(answer.status(), 401, "/{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Basic");
    }
    let page = async || {
        let answer = kubelet.get(url("metrics")).basic_auth("ali", Some("open sesame")).send().await?;
        Ok::<_, anyhow::Error>(Page::parse(&answer.error_for_status()?.text().await?))
    };
    let good = "switchyard_web_config_last_reload_successful";
    assert_eq!(page().await?.value(good, &[]), Some(1.0));
    assert!(page().await?.value("switchyard_web_connections", &[]) >= Some(1.0));
    let drain = kubelet.post(url("drain")).basic_auth("ali", Some("open sesame")).send().await?;
    assert_eq!(drain.status(), 200);

    // A file that cannot be used changes nothing.
    std::fs::write(&web, "tls_server_config: { cert: x }")?;
    until(PATIENCE, "the file is refused", async || {
        ensure!(page().await?.value(good, &[]) == Some(0.0));
        Ok(())
    })
    .await?;
    dead().await?;

    // As documented: no probe of this port gets through, and `switchyard probe` is the way.
    std::fs::write(&web, tls("RequireAndVerifyClientCert"))?;
    until(PATIENCE, "a certificate is asked for", async || {
        ensure!(kubelet.get(url("livez")).send().await.is_err());
        Ok(())
    })
    .await?;
    ensure!(sidecar.terminate(PATIENCE).await?.success(), "{}", sidecar.tail());
    Ok(())
}
