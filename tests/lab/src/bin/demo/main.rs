//! The demo: a fleet fails over before your eyes, on real Prometheus, Alertmanager and BIND.
//!
//! With a terminal it stays up afterwards and takes keys. With `ONCE=1`, or without a terminal, it plays the story
//! once, sends the fleet home and ends: 0 when all of it came true, 1 with the reason when not.

mod screen;
mod view;

use std::{
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::json;
use switchyard_lab::{
    gitlab::JobStatus,
    parts::{self, Flavour},
    scene::{FLEET, NAME, Scene, SceneConfig, TAG},
    switchyard::Switchyard,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    screen::{Screen, Wish},
    view::View,
};

/// How often the live line is drawn.
const TICK: Duration = Duration::from_millis(200);
/// After this long the story has gone wrong.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() -> ExitCode {
    let once = std::env::var_os("ONCE").is_some_and(|once| !once.is_empty() && once != "0");
    match run(once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(once: bool) -> Result<()> {
    let screen = Screen::open(once)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Whatever ends this future drops the scene, and with it every process.
    tokio::select! {
        ended = demo(screen) => ended,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn demo(mut screen: Screen) -> Result<()> {
    let title = "Switchyard: a fleet of GitLab runners fails over, on this machine, in about half a minute.\n\
                 Real: Prometheus, Alertmanager, BIND, runner processes, Switchyard. Simulated: GitLab.\n";
    screen.print(title)?;
    screen.tell("starting everything")?;
    let start = async {
        let switchyard = parts::workspace_program("switchyard").await?;
        // A budget and a cool-down that suit somebody who plays.
        let settings = json!({ "fleets": { FLEET: { "cool_down": "0s" } } });
        let config = SceneConfig {
            flavour: Flavour::Debian,
            switchyard: Some(switchyard),
            settings,
            ..SceneConfig::default()
        };
        Scene::start(config).await
    };
    let scene = tokio::select! {
        scene = start => scene?,
        () = quit(&mut screen) => return Ok(()),
    };
    let mut stage = Stage { scene, screen };
    let Err(error) = stage.play().await else { return Ok(()) };
    // The person's `q` in the middle of the story is no failure.
    if error.is::<Quit>() {
        return Ok(());
    }
    let log = stage.scene.product().map(|product| product.process().tail()).unwrap_or_default();
    Err(anyhow!("{error:#}\n{log}"))
}

#[derive(Debug, thiserror::Error)]
#[error("stopped by a key")]
struct Quit;

async fn quit(screen: &mut Screen) {
    while screen.wish().await != Wish::Quit {}
}

struct Stage {
    scene: Scene,
    screen: Screen,
}

impl Stage {
    async fn play(&mut self) -> Result<()> {
        self.screen.tell("all of it answers; Prometheus watches the runners for a moment")?;
        tokio::select! {
            settled = self.scene.settled() => settled?,
            () = quit(&mut self.screen) => return Err(Quit.into()),
        }
        let (from, to) = ("blue", "green");
        self.screen
            .tell(&format!("{from} holds the fleet: its runners carry the tag {TAG}, {NAME} points at it"))?;
        let job = self.ask_for_job();
        self.told_job(job, from).await?;

        self.screen.tell(&format!("kill -9 of every runner process of {from}"))?;
        let killed = Instant::now();
        self.scene.kill(from).await?;
        let waiting = self.ask_for_job();
        self.screen.tell(&format!("job {waiting} asks for {TAG}: nobody alive carries it"))?;
        self.watch("the alert fires", |view| view.alert.as_deref() == Some(from)).await?;
        self.screen.tell("Prometheus: SwitchyardFailover fires; Alertmanager tells Switchyard")?;
        let view = self.watch("Switchyard decides", |view| view.to == to).await?;
        self.screen.tell(&format!("Switchyard decided: {}", view.reason))?;
        self.watch("the fleet has moved", |view| view.settled_in(to)).await?;
        let took = killed.elapsed().as_secs_f64();
        self.screen
            .tell(&format!("{to} holds the fleet, {took:.1} s after the kill: seen in GitLab and at BIND"))?;
        self.told_job(waiting, to).await?;

        if self.screen.attended() {
            self.where_to_look()?;
            return self.attend().await;
        }
        self.screen.tell(&format!("{from} comes back, and takes nothing"))?;
        self.scene.revive(from).await?;
        self.scene.all_well().await?;
        ensure!(View::of(&self.scene).await.settled_in(to), "{from} took the fleet by coming back");
        self.screen.tell("a careful person waits until the alert about it has ended")?;
        self.watch("the alert ends", |view| view.alert.is_none()).await?;
        self.send_home(from, to, false).await?;
        self.watch("the fleet is home", |view| view.settled_in(from)).await?;
        let job = self.ask_for_job();
        self.told_job(job, from).await?;
        self.screen.tell("the story came true")
    }

    fn ask_for_job(&self) -> u64 {
        self.scene.job(&[TAG], "echo hello from $CI_RUNNER_DESCRIPTION")
    }

    /// Waits for a job and tells where it ran.
    async fn told_job(&mut self, job: u64, expected: &str) -> Result<()> {
        let finished = tokio::select! {
            finished = self.scene.finished(job) => finished?,
            () = quit(&mut self.screen) => return Err(Quit.into()),
        };
        let cluster = self.scene.ran_on(&finished).context("no known runner took the job")?;
        ensure!(
            finished.status == JobStatus::Success,
            "job {job} is {:?}:\n{}",
            finished.status,
            finished.log()
        );
        ensure!(cluster == expected, "job {job} ran on {cluster} instead of {expected}");
        let text = format!("job {job} ran on {cluster}, runner {}", finished.runner.unwrap_or_default());
        self.screen.tell(&text)
    }

    /// Draws the live line until something is so.
    async fn watch(&mut self, what: &str, so: impl Fn(&View) -> bool) -> Result<View> {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = quit(&mut self.screen) => return Err(Quit.into()),
            }
            let view = View::of(&self.scene).await;
            if so(&view) {
                return Ok(view);
            }
            ensure!(start.elapsed() < PATIENCE, "waited in vain until {what}: {view}; {}", view.sentence);
            self.screen.show(&view.to_string())?;
        }
    }

    /// A person sends the fleet from one cluster to another.
    async fn send_home(&mut self, to: &str, from: &str, at_once: bool) -> Result<()> {
        let mut args =
            vec!["switch", FLEET, "--to", to, "--from", from, "--reason", "the demo", "--author", "you"];
        self.screen.tell(&format!("$ switchyard {}", args.join(" ").replace("the demo", "'the demo'")))?;
        args.extend(at_once.then_some("--no-wait"));
        let start = Instant::now();
        let answer = loop {
            let answer = self.scene.product()?.cli(&args).await?;
            // 3: held by a gate. With the story alone, it opens by and by: an alert ends when its time is over.
            if at_once || answer.code != 3 || start.elapsed() > PATIENCE {
                break answer;
            }
            tokio::time::sleep(TICK * 5).await;
        };
        self.screen.tell(&format!("{}{}", answer.stdout, answer.stderr))?;
        if at_once && answer.code == 3 {
            self.screen
                .tell("a gate holds it: wait for its alert to end, or ask explain; then press f again")?;
        }
        ensure!(at_once || answer.code == 0, "the fleet was not sent home: exit code {}", answer.code);
        Ok(())
    }

    fn where_to_look(&mut self) -> Result<()> {
        let scene = &self.scene;
        let (prometheus, alertmanager) = (scene.prometheus.url(), scene.alertmanager.url());
        let switchyard = scene.switchyard.as_ref().map(Switchyard::url).unwrap_or_default();
        let (binary, config) = match &scene.switchyard {
            Some(running) => (running.binary().display(), running.config().display()),
            None => bail!("there is no Switchyard"),
        };
        let (host, port) = scene
            .bind
            .server()
            .rsplit_once(':')
            .map(|(h, p)| (h.to_owned(), p.to_owned()))
            .unwrap_or_default();
        let text = format!(
            "\nIt stays up. Look around from another terminal:\n\
             \x20 metrics       {switchyard}/metrics\n\
             \x20 API           {switchyard}/api/v1/fleets/{FLEET}\n\
             \x20 Prometheus    {prometheus}/alerts\n\
             \x20 Alertmanager  {alertmanager}/#/alerts\n\
             \x20 GitLab        {gitlab}/-/lab/state\n\
             \x20 DNS           dig @{host} -p {port} {NAME}\n\
             \x20 logs          {logs}\n\
             \x20 commands      export SWITCHYARD_CONFIG_FILE={config}\n\
             \x20               {binary} explain     # every gate and what it saw; also: check, plan, history,\n\
             \x20               {binary} pause --all --reason 'a look around'     # then resume; also: switch, ack\n\n\
             Keys: k kill the holder's cluster   r revive   f send the fleet home   q quit\n",
            gitlab = scene.gitlab.url(),
            logs = scene.dir().display(),
        );
        self.screen.print(&text)
    }

    /// Takes keys until the person has seen enough.
    async fn attend(&mut self) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let mut told = View::of(&self.scene).await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                wish = self.screen.wish() => match wish {
                    Wish::Quit => return Ok(()),
                    wish => self.grant(wish).await?,
                },
            }
            let view = View::of(&self.scene).await;
            if view.generation > told.generation {
                self.screen.tell(&format!("Switchyard decided: {} ({})", view.to, view.reason))?;
            }
            if view.settled_in(&view.to) && !told.settled_in(&view.to) {
                self.screen.tell(&view.sentence)?;
            }
            self.screen.show(&view.to_string())?;
            // A look that Switchyard did not answer tells nothing.
            if view.generation > 0 {
                told = view;
            }
        }
    }

    async fn grant(&mut self, wish: Wish) -> Result<()> {
        let view = View::of(&self.scene).await;
        match wish {
            Wish::Kill => match view.holder().filter(|holder| !view.dead.iter().any(|dead| dead == holder)) {
                Some(holder) => {
                    self.screen.tell(&format!("kill -9 of every runner process of {holder}"))?;
                    self.scene.kill(holder).await
                }
                None => self.screen.tell("the fleet is in no single cluster that lives: nothing to kill"),
            },
            Wish::Revive => {
                for cluster in &view.dead {
                    self.screen.tell(&format!("{cluster} comes back"))?;
                    self.scene.revive(cluster).await?;
                }
                if view.dead.is_empty() { self.screen.tell("every cluster lives") } else { Ok(()) }
            }
            Wish::Failback => match view.holder() {
                Some("blue") => self.screen.tell("the fleet is at home"),
                Some(holder) => self.send_home("blue", holder, true).await,
                None => self.screen.tell("the fleet is under way"),
            },
            Wish::Quit => Ok(()),
        }
    }
}
