//! Two clients that know GitLab and not this simulator keep it honest: python-gitlab and @gitbeaker/rest.
//!
//! Without Python or Node the test says so and passes; in CI it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use switchyard_lab::gitlab::{Config, Owner, RunnerSpec, Simulator, TokenSpec};
use switchyard_lab::packages::{install, npm, run};
use switchyard_lab::parts;

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A fleet of 25, one of them for this client.
fn fleet(client: &str) -> (Simulator, String, u64) {
    let gitlab = Simulator::start(Config::default());
    let admin = gitlab.admin();
    let group = admin.create_group("acme");
    admin.create_runner(RunnerSpec::new("of the group", &["g"]).owned_by(Owner::Group(group)));
    for n in 0..23 {
        admin.create_runner(RunnerSpec::new(&format!("other {n}"), &["runner-a"]));
    }
    let id = admin.create_runner(RunnerSpec::new("blue", &["runner-a", client])).id;
    admin.heartbeat(id, "s_1");
    let token = admin.create_token(TokenSpec::admin(client, &["api"]));
    (gitlab, token, id)
}

/// The outcome for machines without the language.
fn unchecked(what: &str, why: &anyhow::Error) -> Result<()> {
    if std::env::var_os("CI").is_some() {
        bail!("{what} is needed in CI: {why:#}");
    }
    parts::skipped(&format!("the simulated GitLab was not checked with {what}: {why:#}"));
    Ok(())
}

fn finish(gitlab: &Simulator, client: &str, id: u64, answer: &str) {
    assert!(answer.contains("done"), "{answer}");
    let mut tags = vec!["rnd-runner", "runner-a", client];
    tags.sort_unstable();
    assert_eq!(gitlab.admin().tags(id), tags);
    let changed: Vec<u64> = gitlab.admin().changes().iter().map(|a| a.runner_id).collect();
    assert_eq!(changed, [id]);
}

#[test]
fn python_gitlab_lists_reads_and_retags() -> Result<()> {
    let source = clients().join("python");
    let pins = source.join("requirements.txt");
    let installed = install("python", &pins, |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")))?;
        let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        run(Command::new(dir.join("venv/bin/pip")).args(pip).arg(&pins))?;
        Ok(())
    });
    let home = match installed {
        Ok(home) => home,
        Err(why) => return unchecked("python-gitlab", &why),
    };
    let (gitlab, token, id) = fleet("python");
    let mut command = Command::new(home.join("venv/bin/python"));
    command.arg(source.join("fleet.py")).args([&gitlab.url(), &token, &id.to_string()]).env("NO_PROXY", "*");
    finish(&gitlab, "python", id, &run(&mut command)?);
    Ok(())
}

#[test]
fn gitbeaker_lists_reads_and_retags() -> Result<()> {
    let source = clients().join("node");
    let installed = npm("node", &source);
    let home = match installed {
        Ok(home) => home,
        Err(why) => return unchecked("@gitbeaker/rest", &why),
    };
    // Node looks for packages beside the program.
    fs::copy(source.join("fleet.js"), home.join("fleet.js"))?;
    let (gitlab, token, id) = fleet("node");
    let mut command = Command::new("node");
    command.arg(home.join("fleet.js")).args([&gitlab.url(), &token, &id.to_string()]).env("NO_PROXY", "*");
    finish(&gitlab, "node", id, &run(&mut command)?);
    Ok(())
}
