//! The sidecar: every state by values, and the program beside a runner process.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use switchyard::{
    model::{SignedDuration, Timestamp},
    sidecar::{self, Limits, Look, Memory, Reading, Section, State},
};
use switchyard_lab::{
    exposition::Page,
    gitlab::{Config, Fault, JobTemplate, Kind, Match, Outage, RunnerSpec, Simulator},
    http, metric_docs, ports,
    process::{Process, Program},
    runner::{self, Setup},
    wait::{PATIENCE, until},
};

/// A second of a story that begins at a process's start.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

/// A page of a gitlab-runner 19 with one section.
fn page(requests: &[(&str, f64)]) -> Reading {
    let section = Section {
        requests: requests.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect(),
        feeds: Some(requests.iter().map(|(_, count)| count).sum()),
        feed_failures: Some(0.0),
        ..Section::default()
    };
    Reading {
        state: Some("running".to_owned()),
        started: Some(at(0)),
        concurrent: Some(2.0),
        sections: BTreeMap::from([("abc".to_owned(), section)]),
    }
}

fn with(mut page: Reading, change: impl FnOnce(&mut Section)) -> Reading {
    change(page.sections.get_mut("abc").expect("its section"));
    page
}

fn look_of(answer: Result<Reading, String>) -> Look {
    answer.map_or_else(Look::Silence, Look::Page)
}

/// The state after looks at these seconds.
fn told(looks: &[(i64, Result<Reading, String>)], now: i64) -> State {
    let (mut memory, limits) = (Memory::default(), Limits::default());
    for (second, look) in looks {
        memory.look(look_of(look.clone()), at(*second), &limits);
    }
    let judged = memory.judge(at(now), &limits);
    assert!(!judged.sentence.is_empty());
    judged.state
}

fn refused() -> Result<Reading, String> {
    Err("connection refused".to_owned())
}

#[test]
fn a_runner_that_does_not_answer_several_times_is_dead_and_no_other_is() {
    let polling = || Ok(page(&[("204", 5.0)]));
    assert_eq!(told(&[], 0), State::Unknown);
    assert_eq!(told(&[(0, refused())], 0), State::Unknown);
    assert_eq!(
        told(&[(0, polling()), (2, refused()), (4, refused())], 4),
        State::Polling,
        "one look is no proof"
    );
    let dead = told(&[(0, polling()), (2, refused()), (4, refused()), (6, refused())], 6);
    assert_eq!(dead, State::Dead);
    let back = [(0, refused()), (2, refused()), (4, refused()), (6, polling())];
    assert_eq!(told(&back, 6), State::Polling);
    for state in State::ALL {
        assert_eq!(
            state.live(),
            state != State::Dead,
            "{state}: an outage of GitLab must not restart runners"
        );
        assert!(state.live() || !state.ready(), "{state}");
    }
}

/// A page that a newer runner writes in another way, or a wrong address, must not restart the fleet.
#[test]
fn what_answers_is_not_dead_although_nobody_can_read_it() {
    let (mut memory, limits) = (Memory::default(), Limits::default());
    let puzzle = || Look::Puzzle("line 3 is not in Prometheus' text format".to_owned());
    memory.look(Look::Page(page(&[("204", 5.0)])), at(100), &limits);
    for second in 101..120 {
        memory.look(puzzle(), at(second), &limits);
        let judged = memory.judge(at(second), &limits);
        assert_eq!(judged.state, State::Unknown);
        assert!(judged.sentence.contains("line 3"), "{}", judged.sentence);
    }
    memory.look(Look::Page(page(&[("204", 6.0)])), at(120), &limits);
    assert_eq!(memory.judge(at(120), &limits).state, State::Polling);
    // Silence after it is silence all the same.
    memory.look(puzzle(), at(121), &limits);
    for second in 122..125 {
        memory.look(Look::Silence("refused".to_owned()), at(second), &limits);
    }
    assert_eq!(memory.judge(at(124), &limits).state, State::Dead);
}

#[test]
fn a_start_is_told_from_a_silence() {
    let silent = || Ok(page(&[]));
    assert_eq!(told(&[(1, silent())], 1), State::Starting);
    assert_eq!(told(&[(1, silent()), (55, silent())], 55), State::Starting, "the first poll may be held");
    assert_eq!(told(&[(1, silent()), (90, silent())], 90), State::Blocked);
    let starting = Reading { state: Some("starting".to_owned()), ..page(&[]) };
    assert_eq!(told(&[(200, Ok(starting))], 200), State::Starting);
    // A sidecar that comes late to a runner does not know yet.
    let seen = || Ok(page(&[("204", 900.0)]));
    assert_eq!(told(&[(5000, seen())], 5000), State::Unknown);
    assert_eq!(told(&[(5000, seen()), (5002, Ok(page(&[("204", 901.0)])))], 5002), State::Polling);
}

#[test]
fn the_last_answer_decides_and_of_two_at_once_the_worse() {
    let base = (100, Ok(page(&[("204", 10.0), ("403", 1.0), ("502", 1.0)])));
    let then = |change: &[(&str, f64)]| {
        let mut counts = BTreeMap::from([("204", 10.0), ("403", 1.0), ("502", 1.0)]);
        counts.extend(change.iter().copied());
        Ok(page(&counts.into_iter().collect::<Vec<_>>()))
    };
    for (change, state) in [
        (&[("204", 11.0)][..], State::Polling),
        (&[("201", 1.0)], State::Polling),
        (&[("403", 2.0)], State::Refused),
        (&[("502", 2.0)], State::GitlabUnreachable),
        (&[("-1", 1.0)], State::GitlabUnreachable),
        (&[("429", 1.0)], State::GitlabUnreachable),
        (&[("204", 12.0), ("403", 2.0)], State::Refused),
        (&[("204", 12.0), ("-1", 1.0)], State::GitlabUnreachable),
    ] {
        assert_eq!(told(&[base.clone(), (102, then(change))], 102), state, "{change:?}");
    }
    // GitLab stays away for hours: not ready, and never dead.
    let away = [base.clone(), (102, then(&[("-1", 5.0)])), (9000, then(&[("-1", 5.0)]))];
    assert_eq!(told(&away, 9000), State::GitlabUnreachable);
    // Long polling: an answer may take 50 s and longer silences are none.
    let good = || then(&[("204", 11.0)]);
    assert_eq!(told(&[base.clone(), (102, good()), (160, good())], 160), State::Polling);
    assert_eq!(told(&[base, (102, good()), (161, good())], 161), State::Blocked, "nothing moves any more");
}

#[test]
fn a_runner_that_sleeps_after_refusals_is_told_from_one_that_polls() {
    let base = (100, Ok(page(&[("204", 10.0)])));
    let asleep = |failures: f64| {
        Ok(with(page(&[("204", 10.0), ("403", 3.0)]), |s| {
            (s.feeds, s.feed_failures) = (Some(13.0), Some(failures));
        }))
    };
    let story = [base.clone(), (110, asleep(0.0)), (113, asleep(1.0)), (200, asleep(30.0))];
    assert_eq!(told(&story[..2], 110), State::Refused);
    assert_eq!(told(&story[..3], 113), State::Asleep);
    assert_eq!(told(&story, 200), State::Asleep);
    let woken = Ok(with(page(&[("204", 11.0), ("403", 3.0)]), |s| {
        (s.feeds, s.feed_failures) = (Some(14.0), Some(31.0));
    }));
    let mut story = story.to_vec();
    story.push((203, woken));
    let after = Ok(with(page(&[("204", 12.0), ("403", 3.0)]), |s| {
        (s.feeds, s.feed_failures) = (Some(15.0), Some(31.0));
    }));
    story.push((206, after));
    assert_eq!(told(&story, 206), State::Polling);

    // Before 15.11 nothing counts what is not fed: a 403 and then silence.
    let old = |counts: &[(&str, f64)]| {
        Ok(Reading { state: None, ..with(page(counts), |s| (s.feeds, s.feed_failures) = (None, None)) })
    };
    let story = [(100, old(&[("204", 10.0)])), (102, old(&[("204", 10.0), ("403", 1.0)]))];
    assert_eq!(told(&story, 104), State::Refused);
    assert_eq!(told(&story, 111), State::Asleep);
}

#[test]
fn full_draining_stuck_and_blocked_are_told_apart() {
    let base = (100, Ok(page(&[("204", 10.0)])));
    let busy = |jobs: f64| Ok(with(page(&[("204", 10.0)]), |s| s.jobs = jobs));
    assert_eq!(told(&[base.clone(), (900, busy(2.0))], 900), State::Full);
    assert_ne!(told(&[base.clone(), (900, busy(1.0))], 900), State::Full);
    let limited = Ok(with(page(&[("204", 10.0)]), |s| (s.jobs, s.limit) = (1.0, 1.0)));
    assert_eq!(told(&[base.clone(), (900, limited)], 900), State::Full);

    for state in ["graceful-shutdown", "forceful-shutdown"] {
        let ending = Reading { state: Some(state.to_owned()), ..page(&[("204", 11.0)]) };
        assert_eq!(told(&[base.clone(), (102, Ok(ending))], 102), State::Draining, "{state}");
    }
    let (mut memory, limits) = (Memory::default(), Limits::default());
    memory.look(look_of(base.1.clone()), at(100), &limits);
    memory.drain();
    memory.look(look_of(Ok(page(&[("204", 11.0)]))), at(102), &limits);
    assert_eq!(memory.judge(at(102), &limits).state, State::Draining, "told by the preStop hook");
    let anew = Reading { started: Some(at(110)), ..page(&[("204", 1.0)]) };
    memory.look(look_of(Ok(anew)), at(112), &limits);
    assert_eq!(memory.judge(at(112), &limits).state, State::Polling, "another process");

    let waits = |exceeded: f64| {
        Ok(with(page(&[("204", 10.0)]), |s| (s.in_flight, s.exceeded) = (1.0, Some(exceeded))))
    };
    let stuck = [base.clone(), (102, waits(0.0)), (170, waits(20.0))];
    assert_eq!(told(&stuck, 170), State::Stuck);
    assert_eq!(told(&[base.clone(), (170, base.1.clone())], 170), State::Blocked);
}

#[test]
fn one_section_that_takes_no_jobs_does_not_hide_behind_another() {
    let two = |good: f64, bad: f64| {
        let mut page = page(&[("204", good)]);
        let other = Section { requests: BTreeMap::from([("403".to_owned(), bad)]), ..Section::default() };
        page.sections.insert("xyz".to_owned(), other);
        Ok(page)
    };
    let (mut memory, limits) = (Memory::default(), Limits::default());
    memory.look(look_of(two(10.0, 1.0)), at(100), &limits);
    memory.look(look_of(two(11.0, 2.0)), at(102), &limits);
    let judged = memory.judge(at(102), &limits);
    assert_eq!(judged.state, State::Refused);
    assert_eq!(judged.sections["abc"], State::Polling);
    assert!(judged.sentence.contains("runner xyz"), "{}", judged.sentence);
    // What a probe writes down and reads again is the same.
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
}

struct Scene {
    gitlab: Simulator,
    runner: runner::Process,
    sidecar: Process,
    url: String,
    dir: tempfile::TempDir,
}

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

impl Scene {
    /// GitLab that answers polls at once, a runner that asks ten times a second, and the sidecar.
    async fn start() -> Result<Self> {
        let gitlab = Simulator::start(Config::default());
        let record = gitlab.admin().create_runner(RunnerSpec::new("blue", &["rnd-runner"]));
        let dir = tempfile::tempdir()?;
        let setup = Setup::new("blue", &gitlab.url(), &record.token).check_interval(0.1);
        let runner = runner::Process::start(setup, dir.path()).await?;
        let address = ports::free_address()?;
        let page = format!("http://{}/metrics", runner.metrics_addr());
        let sidecar = Program::new("sidecar", BINARY)
            .args(["sidecar", "--period=100ms", "--runner.check-interval=1s", "--runner.hold=1s"])
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--runner.url={page}"))
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
            .kill_on_drop(true)
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }
}

#[tokio::test]
async fn a_page_that_is_too_long_is_no_death() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/metrics", listener.local_addr()?).parse()?;
    let long = || async { "# nothing\n".repeat(500_000) };
    let server = axum::serve(listener, axum::Router::new().fallback(long));
    tokio::spawn(async move { server.await });
    let (runner, dir) = (sidecar::Runner::new(&url, Limits::default())?, tempfile::tempdir()?);
    for second in 100..110 {
        let judged = sidecar::probe(&runner, &dir.path().join("state.json"), at(second)).await?;
        assert_eq!(judged.state, State::Unknown, "{}", judged.sentence);
        assert!(judged.sentence.contains("longer than"), "{}", judged.sentence);
    }
    Ok(())
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
    for outage in [Outage::Refuse, Outage::BadGateway] {
        scene.gitlab.admin().outage(outage);
        scene.becomes(State::GitlabUnreachable).await?;
        scene.gitlab.admin().outage(Outage::None);
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
    let log = scene.sidecar.tail();
    assert!(log.contains("state=asleep") && log.contains("state=dead"), "{log}");
    assert!(scene.sidecar.terminate(PATIENCE).await?.success());
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
    scene.runner.kill9().await?;
    assert_eq!(scene.probe("live", &file).await?.0, Some(0), "once is no proof");
    let (code, said) = scene.probe("live", &file).await?;
    assert!(code == Some(1) && said.starts_with("dead:"), "{said}");
    let (code, said) = scene.probe("live", Path::new("/proc/nowhere")).await?;
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

#[test]
fn quiet_is_the_hold_two_intervals_and_a_look() {
    assert_eq!(Limits::default().quiet(), SignedDuration::from_secs(58));
}
