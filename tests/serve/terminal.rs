//! The live line, as a terminal gets it: the program in a pseudo-terminal of its own.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, ensure};
use serde_json::json;
use switchyard_lab::{
    bind::{Bind, BindConfig},
    gitlab::{Fault, Kind, Match},
    parts::{Missing, or_skip},
    process::{Process, Program},
    wait::{PATIENCE, until},
};

use crate::stage::{BINARY, Stage};

/// A command of Switchyard in a terminal, by `script` of util-linux.
struct Terminal {
    process: Process,
}

impl Terminal {
    fn open(stage: &Stage, name: &str, command: &str) -> Result<Self> {
        let script = Path::new("/usr/bin/script");
        if !script.is_file() {
            return Err(Missing { part: "script".to_owned(), mend: "apt-get install bsdutils" }.into());
        }
        let config = stage.dir().join("switchyard.toml");
        let command = format!("{BINARY} {command} --config.file {}; echo exit code $?", config.display());
        // Below a shell, because `script` waits for children that it did not start, too.
        let below = ["-c", "script -qefc \"$1\" /dev/null; :", "sh", &command];
        let script = Program::new(name, "/bin/sh").args(below).env("USER", "ada");
        Ok(Self { process: script.start(stage.dir())? })
    }

    /// All that the terminal got so far.
    fn shown(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.process.log()).unwrap_or_default()).into_owned()
    }

    async fn shows(&self, part: &str) {
        until(PATIENCE, &format!("{part:?} is shown"), async || {
            ensure!(self.shown().contains(part), "{:?}", self.shown());
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_move_can_be_watched_live_in_two_terminals() {
    let Some(bind) = or_skip(Bind::start(BindConfig::default()).await) else { return };
    let mut stage = Stage::new().await;
    stage.settings["dns"] = json!({ "providers": { "bind": {
        "type": "rfc2136", "server": bind.server(), "zone": bind.zone(), "tsig_name": bind.tsig_name(),
        "tsig_algorithm": bind.tsig_algorithm(), "tsig_secret_file": stage.secret("tsig", bind.tsig_secret()),
    }}});
    let fleet = &mut stage.settings["fleets"]["rnd"];
    fleet["dns"] = json!({
        "name": "runner.company.test.", "type": "CNAME", "ttl": "30s", "provider": "bind"
    });
    for cluster in ["blue", "green"] {
        fleet["pools"][cluster]["dns"] = json!(format!("ingress.{cluster}.company.test."));
    }
    let _switchyard = stage.start().await;
    // Nothing can be written for as long as both look.
    let unavailable = Kind::Status { status: 503, body: "later".to_owned() };
    stage.gitlab.admin().fault(Fault::new(Match::operation("^update_runner$"), unavailable));
    let switch = "switch rnd --from blue --to green --reason test";
    let Some(asked) = or_skip(Terminal::open(&stage, "asked", switch)) else { return };
    asked.shows("prepare: runners 0/4, DNS servers 0/2").await;
    let watched = Terminal::open(&stage, "watched", "watch rnd").unwrap();
    watched.shows("prepare: runners 0/4, DNS servers 0/2").await;
    // The time goes on while nothing else does.
    until(PATIENCE, "the elapsed time changes", async || {
        let shown = asked.shown();
        let times =
            shown.split("  prepare: runners 0/4").map(|line| line.rsplit("  ").next().unwrap_or_default());
        let times: BTreeSet<&str> = times.filter(|time| time.ends_with(" s")).collect();
        ensure!(times.len() > 1, "{times:?}");
        Ok(())
    })
    .await
    .unwrap();
    stage.gitlab.admin().clear_faults();
    for terminal in [&asked, &watched] {
        terminal.shows("exit code").await;
        let shown = terminal.shown();
        assert!(shown.contains("exit code 0"), "{shown:?}");
        assert!(shown.contains("done: runners 4/4"), "{shown:?}");
        assert!(shown.contains("rnd is held by green"), "{shown:?}");
        // One line, written anew each time, never wrapped.
        let live: Vec<&str> = shown.split('\n').filter(|line| line.contains("runners ")).collect();
        assert_eq!(live.len(), 1, "{shown:?}");
        for line in live[0].trim_end_matches('\r').split('\r').filter(|line| line.contains("runners ")) {
            assert!(line.starts_with("\u{1b}[?7l  ") && line.ends_with("\u{1b}[K\u{1b}[?7h"), "{line:?}");
        }
    }
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}
