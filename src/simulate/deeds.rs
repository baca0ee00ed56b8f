//! What happens in a story, done to the simulated world or by a person to Switchyard.

use super::{
    engine::{PlayError, Player, later},
    story::{CrashAt, Deed, DnsFault, Fate, GitlabFault, Happening, Part, Signature, Who},
    transcript::Kind,
};
use crate::{
    model::{
        ClusterName, Consent, FleetName, Gate, Holders, Manager, Override, OverrideKind, Pipeline, Proposal,
        RecordSet, RunnerId, Seen, SignedDuration, Tag,
    },
    store::{self, Acted, NewRequest, Person, ProposalAnswered},
    world::{
        World as _,
        sim::{Chance, Crash, Edit, Process, SimGitlab, SimRunner, Tool},
    },
};

const MOST_TAGS: usize = 50;

pub(super) async fn happens(player: &mut Player<'_>, what: &Happening) -> Result<(), PlayError> {
    match what {
        Happening::Runners(who, fate) => runners(player, who, *fate),
        Happening::Gitlab(fault) => gitlab(player, *fault),
        Happening::Dns(fault) => dns(player, fault),
        Happening::Prometheus(server, fault, about) => {
            let mut state = player.world.state();
            for index in 0..state.prometheus.len() {
                if server.is_none_or(|server| server == index) {
                    state.break_prometheus(index, Some(*fault), about.as_ref());
                }
            }
        }
        Happening::Alertmanager(fault) => player.alerting.fault = Some(*fault),
        Happening::Mend(part) => mend(player, *part),
        Happening::Tool(tool, cluster, fault) => {
            player.world.state().break_tool(cluster, *tool, Some(*fault));
        }
        Happening::Human(deed, signature) => return human(player, deed, signature).await,
        Happening::Crash(CrashAt::Now) if player.runs() => return player.crashed("between two passes").await,
        Happening::Crash(CrashAt::Now) => {}
        Happening::Crash(CrashAt::BeforeStep(n)) => {
            player.world.state().crash = Some(Crash::BeforeStep(*n));
        }
        Happening::Crash(CrashAt::AfterStep(n)) => player.world.state().crash = Some(Crash::AfterStep(*n)),
        Happening::Crash(CrashAt::AfterRecord(n)) => player.crash_after_record(*n),
        Happening::Running(false) => player.stop(),
        Happening::Running(true) if !player.runs() => return player.start_again().await,
        Happening::Running(true) => {}
        Happening::Lead(leads) => return player.lead(*leads).await,
        Happening::Clock(by) => {
            let mut state = player.world.state();
            state.clock_ahead += *by;
        }
        Happening::Expect(..) => {}
    }
    Ok(())
}

fn runners(player: &Player<'_>, who: &Who, fate: Fate) {
    let mut state = player.world.state();
    let now = state.now;
    let change = |runner: &mut SimRunner| match fate {
        Fate::Kill => runner.process = Process::Dead,
        Fate::Revive => {
            runner.process = Process::Polling;
            (runner.scraped, runner.reaches_gitlab) = (true, true);
        }
        Fate::Partition => (runner.scraped, runner.reaches_gitlab) = (false, false),
        Fate::PartitionFromGitlab => runner.reaches_gitlab = false,
        Fate::PartitionFromPrometheus => runner.scraped = false,
        Fate::Heal => (runner.scraped, runner.reaches_gitlab) = (true, true),
        Fate::Slow if runner.process != Process::Dead => runner.process = Process::Slow,
        Fate::Sleep(lasts) if runner.process != Process::Dead => {
            runner.process = Process::Asleep { until: later(now, lasts) };
        }
        Fate::Wake if runner.process != Process::Dead => runner.process = Process::Polling,
        Fate::Slow | Fate::Sleep(_) | Fate::Wake => {}
    };
    match who {
        Who::Runner(id) => {
            if let Some(runner) = state.runner(*id) {
                change(runner);
            }
        }
        Who::Cluster(cluster, share) => {
            let mut pool: Vec<&mut SimRunner> =
                state.runners.iter_mut().filter(|r| r.cluster == *cluster).collect();
            let hit = (pool.len() * usize::from(*share)).div_ceil(100);
            pool.iter_mut().take(hit).for_each(|runner| change(runner));
        }
    }
    state.refresh();
}

fn gitlab(player: &Player<'_>, fault: GitlabFault) {
    let mut state = player.world.state();
    match fault {
        GitlabFault::Down => state.gitlab.down = true,
        GitlabFault::RateLimit(shape) => state.gitlab.rate_limit = Some(shape),
        GitlabFault::GraphqlRefused => state.gitlab.graphql_refused = true,
        GitlabFault::StaleReads => state.freeze_gitlab(),
        GitlabFault::Slow(by) => state.gitlab.slow = by,
        GitlabFault::Writes(fault, percent) => state.gitlab.writes.push(Chance { fault, percent }),
    }
    state.refresh();
}

fn dns(player: &Player<'_>, fault: &DnsFault) {
    let mut state = player.world.state();
    match fault {
        DnsFault::Down(server) => {
            for (index, it) in state.dns.servers.iter_mut().enumerate() {
                it.down |= server.is_none_or(|server| server == index);
            }
        }
        DnsFault::Behind(server) => state.freeze_server(*server),
        DnsFault::Writes(fault, percent) => {
            state.dns.writes.push(Chance { fault: *fault, percent: *percent });
        }
    }
}

pub(super) fn mend(player: &mut Player<'_>, part: Part) {
    let is = |one: Part| part == one || part == Part::Everything;
    let mut state = player.world.state();
    if is(Part::Gitlab) {
        state.gitlab = SimGitlab::default();
        state.refresh();
    }
    if is(Part::Dns) {
        state.dns.writes.clear();
        for server in &mut state.dns.servers {
            (server.down, server.behind) = (false, None);
        }
    }
    if is(Part::Prometheus) {
        for index in 0..state.prometheus.len() {
            state.break_prometheus(index, None, None);
        }
    }
    for tool in Tool::ALL {
        if is(Part::Tool(tool)) {
            state.mend_tool(tool);
        }
    }
    drop(state);
    if is(Part::Alertmanager) {
        player.alerting.fault = None;
    }
}

/// The fleet that a runner belongs to was changed by hand.
fn touch(player: &mut Player<'_>, runner: RunnerId, change: impl FnOnce(&mut SimRunner)) {
    let fleet = {
        let mut state = player.world.state();
        let Some(runner) = state.runner(runner) else { return };
        change(runner);
        runner.fleet.clone()
    };
    player.touched.insert(fleet);
}

/// A replica that stands by sends people to the one that leads.
async fn human(player: &mut Player<'_>, deed: &Deed, signature: &Signature) -> Result<(), PlayError> {
    match acts(player, deed, signature).await {
        Err(PlayError::Store(store::Error::Fenced(why))) => {
            "not_leader".clone_into(&mut player.answer);
            player.say(Kind::Answer, None, format!("[not_leader] {why}"));
            Ok(())
        }
        done => done,
    }
}

async fn acts(player: &mut Player<'_>, deed: &Deed, signature: &Signature) -> Result<(), PlayError> {
    let clock = player.world.now();
    let Signature { author, reason } = signature.clone();
    match deed {
        Deed::Retag(id) => {
            let fleets = player.topology.fleets.clone();
            touch(player, *id, |runner| {
                let Some(fleet) = fleets.get(&runner.fleet) else { return };
                if !runner.record.tags.remove(&fleet.routing_tag) {
                    runner.record.tags.insert(fleet.routing_tag.clone());
                }
            });
        }
        Deed::PauseRunner(id, paused, bulk) => {
            touch(player, *id, |runner| runner.pause(clock, *paused, *bulk))
        }
        Deed::Tag(id, tag, given, None) => touch(player, *id, |runner| runner.edit_tag(tag, *given)),
        Deed::Tag(id, tag, given, Some(step)) => {
            touch(player, *id, |_| {});
            let edit = Edit { step: *step, runner: *id, tag: tag.clone(), given: *given };
            player.world.state().edits.push(edit);
        }
        Deed::FillTags(id) => touch(player, *id, |runner| {
            let more = (1..).filter_map(|n| format!("extra-{n}").parse::<Tag>().ok());
            let missing = MOST_TAGS.saturating_sub(runner.record.tags.len());
            runner.record.tags.extend(more.take(missing));
        }),
        Deed::Delete(id) => {
            touch(player, *id, |_| {});
            player.world.state().runners.retain(|r| r.record.id != *id);
        }
        Deed::Register(id, fleet, cluster, tagged) => {
            if let Some(fleet) = player.topology.fleets.get(fleet) {
                let mut state = player.world.state();
                state.runners.retain(|r| r.record.id != *id);
                state.add_runner(fleet, cluster, *id, *tagged);
            }
        }
        Deed::ShareToken(fleet, one, other) => share_token(player, fleet, one, other),
        Deed::EditDns(fleet, cluster, text) => {
            let ttl =
                player.topology.fleets.get(fleet).and_then(|f| f.dns.as_ref()).map_or(30, |dns| dns.ttl);
            let record = cluster
                .as_ref()
                .and_then(|cluster| player.topology.fleets.get(fleet)?.record_set(cluster))
                .unwrap_or_else(|| RecordSet {
                    ttl,
                    values: [format!("{}.", text.trim_end_matches('.'))].into(),
                });
            if let Some(name) = player.world.state().names.get_mut(fleet) {
                name.record = Some(record);
            }
            player.touched.insert(fleet.clone());
        }
        Deed::Pause(fleet, lasts, held) => {
            let until = lasts.map(|lasts| later(clock, lasts));
            let kind = OverrideKind::Pause;
            let fleet = fleet.clone();
            let pause = Override { fleet, kind, reason, author, since: clock, until };
            let expected = expected(player, pause.fleet.as_ref(), held).await?;
            let _ = player.store.set_override(&pause, &expected).await?;
            player.bell.notify_one();
        }
        Deed::Resume(fleet, held) => {
            let kind = OverrideKind::Pause;
            let expected = expected(player, fleet.as_ref(), held).await?;
            let person = Person { author, reason, at: clock, expected };
            let _ = player.store.lift_override(fleet.as_ref(), kind, &person).await?;
            player.bell.notify_one();
        }
        Deed::Ack(fleet, held) => {
            let cool_down = player.topology.fleets.get(fleet).map_or(SignedDuration::ZERO, |f| f.cool_down);
            let expected = expected(player, Some(fleet), held).await?;
            let person = Person { author, reason, at: clock, expected };
            if let Acted::Yes(_) = player.store.acknowledge(fleet, cool_down, &person).await? {
                player.watcher.acknowledged(fleet);
            }
            player.bell.notify_one();
        }
        Deed::Switch(fleet, from, to, overrides) => {
            request(player, fleet, (from.as_ref(), to), overrides, signature).await?;
        }
        Deed::Failback(fleet, from, overrides) => {
            let home = player.topology.fleets.get(fleet).and_then(|fleet| fleet.home()).cloned();
            if let Some(home) = home {
                request(player, fleet, (from.as_ref(), &home), overrides, signature).await?;
            }
        }
        Deed::Veto(cluster, lasts, stands) => {
            let mut state = player.world.state();
            let until = lasts.map(|lasts| later(state.now, lasts));
            state.vetoes.remove(cluster);
            if *stands {
                state.vetoes.insert(cluster.clone(), until);
            }
        }
        Deed::Silence(cluster, lasts) => {
            let until = later(player.now(), *lasts);
            player.alerting.silence(cluster.clone(), until);
        }
        Deed::Consent(fleet, consent, held) => {
            let proposals = player.store.load(clock).await?.proposals;
            // An approval can be taken back.
            let rejects = *consent == Consent::Rejected;
            let asked =
                |p: &&Proposal| p.what.fleet == *fleet && (p.pending(clock) || rejects && p.stands(clock));
            // Without one, the newest that they heard of; they cannot know that there is none.
            let newest = || proposals.iter().rfind(|p| p.what.fleet == *fleet);
            let id = proposals.iter().find(asked).or_else(newest).map_or(0, |proposal| proposal.id);
            let expected = expected(player, Some(fleet), held).await?;
            let person = Person { author, reason, at: clock, expected };
            let answered = player.store.answer_proposal(fleet, id, *consent, &person).await?;
            if let Acted::Yes(ProposalAnswered::Yes(proposal)) = answered {
                player.watcher.answered(proposal);
            }
            player.bell.notify_one();
        }
        Deed::Pipeline(id, runs) => {
            let pipeline = Pipeline { project: 1, id: *id };
            let tags: Vec<&Tag> = player.topology.fleets.values().map(|fleet| &fleet.routing_tag).collect();
            let mut state = player.world.state();
            let carries = |r: &&SimRunner| tags.iter().any(|tag| r.record.tags.contains(*tag));
            let on = state.runners.iter().filter(carries).map(|r| r.record.id).collect();
            if let Seen::Known(pipelines) = &mut state.pipelines {
                pipelines.remove(&pipeline);
                if *runs {
                    pipelines.insert(pipeline, on);
                }
            }
        }
        Deed::Enable(fleet, enabled) => {
            let mut topology = player.topology.clone();
            if let Some(fleet) = topology.fleets.get_mut(fleet) {
                fleet.enabled = *enabled;
            }
            player.configure(topology);
        }
    }
    Ok(())
}

/// Whom the person believes to hold the fleet; without a word of it, they have looked, as the command line does.
async fn expected(
    player: &Player<'_>,
    fleet: Option<&FleetName>,
    held: &Option<Option<ClusterName>>,
) -> Result<Holders, PlayError> {
    if let (Some(fleet), Some(held)) = (fleet, held) {
        return Ok(Holders::of(fleet.clone(), held.clone()));
    }
    let Holders(mut decided) = player.store.holders().await?;
    let concerned = player.topology.fleets.keys().filter(|name| fleet.is_none_or(|fleet| fleet == *name));
    Ok(Holders(concerned.map(|name| (name.clone(), decided.remove(name).flatten())).collect()))
}

/// Asks for a planned move.
async fn request(
    player: &mut Player<'_>,
    fleet: &FleetName,
    (from, to): (Option<&ClusterName>, &ClusterName),
    overrides: &[Gate],
    Signature { author, reason }: &Signature,
) -> Result<(), PlayError> {
    let request = NewRequest {
        fleet: fleet.clone(),
        to: to.clone(),
        expected: from.cloned(),
        reason: reason.clone(),
        author: author.clone(),
        at: player.world.now(),
        overrides: overrides.to_vec(),
    };
    let id = player.store.add_request(&request).await?;
    player.watcher.asked(id, request);
    player.requests.insert(id);
    player.bell.notify_one();
    Ok(())
}

/// The processes of the other cluster poll by the first runner's record of one cluster, and by their own no more.
fn share_token(player: &Player<'_>, fleet: &FleetName, one: &ClusterName, other: &ClusterName) {
    let mut state = player.world.state();
    let managers: Vec<Manager> = state
        .runners
        .iter_mut()
        .filter(|r| r.fleet == *fleet && r.cluster == *other)
        .flat_map(|r| std::mem::take(&mut r.record.managers))
        .collect();
    if let Some(runner) = state.runners.iter_mut().find(|r| r.fleet == *fleet && r.cluster == *one) {
        runner.record.managers.extend(managers);
    }
}
