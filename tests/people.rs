//! What people do, on the real loop and the real store; only the world is one of values.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use switchyard::{
    decide::{Outcome, judges},
    metrics::Metrics,
    model::{
        Action, Approval, Consent, Drain, DrainPolicy, Draining, Fence, Fleet, FleetName, Gate, Holders,
        MoveState, Observation, Pipeline, Pool, PoolSelector, RunnerId, Seen, SignalState, SignedDuration,
        Step, StepOutcome, Timestamp, Topology,
    },
    reconcile::{Reconciler, Setup},
    status::Status,
    store::{Acted, HistoryEntry, NewRequest, ProposalAnswered},
    world::{SimWorld, World, sim::WriteFault},
};
use switchyard_lab::{
    harness::Harness,
    values::{cluster, rnd, signal, topology},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

async fn adopted(change: impl FnOnce(&mut Topology)) -> Harness {
    let mut topology = topology(&["blue", "green"]);
    change(&mut topology);
    let mut harness = Harness::with(topology).await;
    harness.pass().await;
    assert_eq!(harness.fleet().outcome, Outcome::Adopted);
    harness
}

/// A pipeline with jobs on every runner that carries the routing tag now.
fn running(harness: &Harness) -> Seen<BTreeMap<Pipeline, BTreeSet<RunnerId>>> {
    let tag = &harness.topology.fleets[&rnd()].routing_tag;
    let state = harness.world.state();
    let on = state.runners.iter().filter(|r| r.record.tags.contains(tag)).map(|r| r.record.id);
    Seen::Known(BTreeMap::from([(Pipeline { project: 1, id: 2 }, on.collect())]))
}

/// The sentences of the story with this outcome.
async fn said(harness: &Harness, outcome: &str) -> Vec<String> {
    harness
        .history()
        .await
        .into_iter()
        .filter_map(|entry| match entry {
            HistoryEntry::Event { event, .. } if event.outcome == outcome => Some(event.sentence),
            _ => None,
        })
        .collect()
}

async fn proposed() -> (Harness, i64) {
    let asks = |topology: &mut Topology| {
        let fleet = topology.fleets.get_mut(&rnd()).unwrap();
        fleet.approval = Approval::Required(SignedDuration::from_mins(10));
    };
    let mut harness = adopted(asks).await;
    harness.blue_dies().await;
    harness.settle().await;
    // The pass after the one that proposes shows the number.
    let fleet = harness.settle().await;
    assert_eq!(fleet.outcome, Outcome::Held(Gate::Approved), "{}", fleet.sentence);
    let proposal = fleet.proposal.expect("a proposal");
    assert!(
        fleet.sentence.contains(&format!("--proposal {} --holder blue", proposal.id)),
        "{}",
        fleet.sentence
    );
    (harness, proposal.id)
}

async fn answer(harness: &Harness, id: i64, consent: Consent, holder: &str) -> Acted<ProposalAnswered> {
    harness.store.answer_proposal(&rnd(), id, consent, &harness.person(holder)).await.unwrap()
}

#[tokio::test]
async fn an_approval_lets_exactly_the_proposed_move_go() {
    let (harness, id) = proposed().await;
    // A restart forgets nothing and proposes nothing twice.
    let mut harness = harness.restart().await;
    harness.settle().await;
    assert_eq!(harness.fleet().proposal.map(|p| p.id), Some(id));
    assert_eq!(said(&harness, "proposed").await.len(), 1);

    let others = Holders::of(rnd(), Some(cluster("blue")));
    assert_eq!(answer(&harness, id, Consent::Approved, "green").await, Acted::HeldBy(others));
    let unknown = answer(&harness, id + 1, Consent::Approved, "blue").await;
    assert_eq!(unknown, Acted::Yes(ProposalAnswered::Unknown));
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"], "nothing was approved");

    let approved = answer(&harness, id, Consent::Approved, "blue").await;
    assert!(matches!(approved, Acted::Yes(ProposalAnswered::Yes(_))), "{approved:?}");
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);
    assert_eq!(harness.decision().await.unwrap().proposal, Some(id));
    let late = answer(&harness, id, Consent::Rejected, "green").await;
    assert!(matches!(late, Acted::Yes(ProposalAnswered::Expired(_))), "{late:?}");
    let story = said(&harness, "approved").await;
    assert_eq!(
        story,
        [format!("approved proposal {id}, the failover to green, expecting rnd at blue: looked at it")]
    );
}

#[tokio::test]
async fn what_is_rejected_does_not_go_while_its_alert_goes_on() {
    let (mut harness, id) = proposed().await;
    let _ = answer(&harness, id, Consent::Rejected, "blue").await;
    for _ in 0..20 {
        harness.world.pass(60);
        harness.poll().await;
        harness.pass().await;
    }
    assert_eq!(harness.holders(), ["blue"]);
    let fleet = harness.fleet();
    assert!(fleet.proposal.is_none() && fleet.sentence.contains("was rejected by ada"), "{}", fleet.sentence);
    assert_eq!(said(&harness, "proposed").await.len(), 1, "it is not asked again");
    let again = answer(&harness, id, Consent::Approved, "blue").await;
    assert!(!matches!(again, Acted::Yes(ProposalAnswered::Yes(_))), "{again:?}");

    // A new episode of the alert is a new question.
    let since = harness.second() - 60;
    let mut again = signal(Action::Failover, Some("blue"), since, SignalState::Firing);
    again.key.fingerprint = "another".to_owned();
    let old = harness.store.load(harness.now()).await.unwrap().signals;
    for mut resolved in old.into_iter().filter(|s| s.action == Action::Failover) {
        resolved.state = SignalState::Resolved;
        harness.hear(resolved).await;
    }
    harness.hear(again).await;
    harness.settle().await;
    assert!(harness.fleet().proposal.is_some(), "{}", harness.fleet().sentence);
}

#[tokio::test]
async fn a_proposal_expires_and_so_does_an_approval() {
    let (mut harness, id) = proposed().await;
    harness.world.pass(601);
    harness.poll().await;
    harness.settle().await;
    let next = harness.fleet().proposal.expect("it is asked again").id;
    assert!(next > id);
    assert_eq!(
        said(&harness, "expired").await,
        [format!("proposal {id}, the failover to green, expired unanswered")]
    );
    let late = answer(&harness, id, Consent::Approved, "blue").await;
    assert!(matches!(late, Acted::Yes(ProposalAnswered::Expired(_))), "{late:?}");

    // Approved, and then another gate closes for longer than the approval counts.
    harness.alive(&[("blue", 0.0), ("green", 0.0)]);
    let _ = answer(&harness, next, Consent::Approved, "blue").await;
    harness.settle().await;
    harness.world.pass(601);
    harness.alive(&[("blue", 0.0), ("green", 1.0)]);
    harness.poll().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"], "{}", harness.fleet().sentence);
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::Approved));

    // An approval that is taken back before the move is decided does not count.
    let third = harness.fleet().proposal.expect("it is asked again").id;
    let _ = answer(&harness, third, Consent::Approved, "blue").await;
    let revoked = answer(&harness, third, Consent::Rejected, "blue").await;
    assert!(matches!(revoked, Acted::Yes(ProposalAnswered::Yes(_))), "{revoked:?}");
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"]);
}

#[tokio::test]
async fn an_acknowledgement_lifts_a_cool_down_and_says_so() {
    let mut harness = adopted(|_| {}).await;
    harness.blue_dies().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"]);
    let old = harness.store.load(harness.now()).await.unwrap().signals;
    for mut resolved in old.into_iter().filter(|s| s.action == Action::Failover) {
        resolved.state = SignalState::Resolved;
        harness.hear(resolved).await;
    }
    harness.alive(&[("blue", 1.0), ("green", 0.0)]);
    harness.world.pass(90);
    let since = harness.second() - 60;
    harness.hear(signal(Action::Failover, Some("green"), since, SignalState::Firing)).await;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::CooledDown), "{}", harness.fleet().sentence);
    let generation = harness.fleet().generation;
    let done = harness.acknowledge("green").await;
    assert_eq!((done.latch, done.cool_down), (None, Some(generation)));
    assert_eq!(harness.acknowledge("green").await.cool_down, None, "once is enough");
    assert_eq!(said(&harness, "cool_down_lifted").await.len(), 1);
    assert_eq!(said(&harness, "acknowledged").await.len(), 0, "there was no failed move");
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"], "{}", harness.fleet().sentence);
}

#[tokio::test]
async fn a_fleet_that_is_only_watched_is_moved_by_a_person_who_breaks_the_glass() {
    let mut harness = adopted(|topology| topology.fleets.get_mut(&rnd()).unwrap().enabled = false).await;
    let ask = |overrides: Vec<Gate>, at| NewRequest {
        fleet: rnd(),
        to: cluster("green"),
        expected: Some(cluster("blue")),
        reason: "blue burns".to_owned(),
        author: "ada".to_owned(),
        at,
        overrides,
    };
    let id = harness.store.add_request(&ask(Vec::new(), harness.now())).await.unwrap();
    harness.settle().await;
    assert_eq!(harness.status.borrow().answers[&id].outcome, Outcome::Held(Gate::Enabled));
    harness.store.add_request(&ask(vec![Gate::Enabled], harness.now())).await.unwrap();
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);
    let decision = harness.decision().await.unwrap();
    assert_eq!((decision.overridden, decision.state), (vec![Gate::Enabled], MoveState::Done));
    let story = said(&harness, "overridden").await;
    assert!(
        story[0].starts_with("overrode enabled (enabled = false") && story[0].ends_with("blue burns"),
        "{story:?}"
    );
}

#[tokio::test]
async fn what_was_asked_of_a_fleet_that_is_not_configured_is_answered() {
    let mut harness = adopted(|_| {}).await;
    let request = NewRequest {
        fleet: "gone".parse().unwrap(),
        to: "green".parse().unwrap(),
        expected: None,
        reason: "maintenance".to_owned(),
        author: "ada".to_owned(),
        at: harness.now(),
        overrides: Vec::new(),
    };
    let id = harness.store.add_request(&request).await.unwrap();
    harness.settle().await;
    assert_eq!(harness.store.open_requests().await.unwrap(), [], "nobody else would answer it");
    let record = harness.store.request(id).await.unwrap().unwrap();
    let answer = (record.outcome.as_deref(), record.sentence.as_deref());
    assert_eq!(answer, (Some("expired"), Some("gone is not configured any more: nothing was done.")));
}

#[tokio::test]
async fn a_planned_move_of_a_sticky_fleet_waits_over_a_restart_until_it_has_drained() {
    let sticky = |topology: &mut Topology| {
        let (deadline, look_back) = (SignedDuration::from_mins(30), SignedDuration::from_hours(24));
        let drain = Drain { deadline, look_back, policy: DrainPolicy::Hold };
        topology.fleets.get_mut(&rnd()).unwrap().drain = Some(drain);
    };
    let mut harness = adopted(sticky).await;
    let pipelines = running(&harness);
    harness.world.state().pipelines = pipelines;
    let id = harness.request(Some("blue"), "green").await;
    harness.settle().await;
    let fleet = harness.fleet();
    assert_eq!(fleet.waiting.map(|w| w.request), Some(id));
    assert_eq!((fleet.in_flight, fleet.outcome), (Some(1), Outcome::Steady));
    let mut harness = harness.restart().await;
    harness.world.pass(300);
    harness.settle().await;
    assert_eq!(harness.fleet().waiting.map(|w| w.request), Some(id), "longer than an unjudged request lives");
    assert_eq!(said(&harness, "waiting").await.len(), 1);
    harness.world.state().pipelines = Seen::Unknown("502".to_owned());
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"], "unknown is not drained");
    harness.world.state().pipelines = Seen::Known(BTreeMap::new());
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);
    let record = harness.store.request(id).await.unwrap().expect("the request");
    assert_eq!(record.generation, Some(harness.fleet().generation));

    let mut harness = adopted(sticky).await;
    let pipelines = running(&harness);
    harness.world.state().pipelines = pipelines;
    let id = harness.request(Some("blue"), "green").await;
    harness.settle().await;
    harness.world.pass(1800);
    harness.settle().await;
    assert_eq!(harness.status.borrow().answers[&id].outcome, Outcome::Held(Gate::Drained));
    assert_eq!(harness.holders(), ["blue"]);
}

#[tokio::test]
async fn progress_counts_whoever_else_still_carries_the_tag() {
    let mut harness = Harness::with(topology(&["blue", "green", "red"])).await;
    harness.pass().await;
    let moved = |harness: &Harness| {
        let progress = harness.fleet().progress.expect("a decision was taken");
        (progress.runners_moved, progress.runners)
    };
    harness.writes(Some(WriteFault::Error));
    harness.request(Some("blue"), "green").await;
    for _ in 0..2 {
        harness.world.pass(1);
        harness.pass().await;
    }
    assert!(harness.fleet().moving, "{}", harness.fleet().sentence);
    assert_eq!(moved(&harness), (0, 4));
    // Somebody tags a runner of a third cluster meanwhile: it has to lose the tag, too.
    let tag = harness.topology.fleets[&rnd()].routing_tag.clone();
    harness.change_runner(5, |runner| {
        runner.tags.insert(tag);
    });
    harness.world.pass(10);
    harness.pass().await;
    assert_eq!(moved(&harness), (0, 5));
    harness.writes(None);
    harness.world.pass(60);
    harness.settle().await;
    assert_eq!((moved(&harness), harness.holders()), ((4, 4), vec!["green".to_owned()]));
}

/// What happens while pipelines are looked for.
type Deed = Box<dyn FnOnce(Setups) -> BoxFuture<'static, ()> + Send>;
type Setups = watch::Sender<Arc<Setup<Meanwhile>>>;

/// A world in which the look for pipelines takes so long that something happens meanwhile.
#[derive(Clone)]
struct Meanwhile {
    world: SimWorld,
    deed: Arc<Mutex<Option<(Deed, Setups)>>>,
}

impl World for Meanwhile {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    async fn observe(&self, topology: &Topology) -> Observation {
        self.world.observe(topology).await
    }

    async fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BTreeMap<FleetName, Seen<Vec<Pipeline>>> {
        let deed = self.deed.lock().unwrap().take();
        if let Some((deed, setups)) = deed {
            deed(setups).await;
        }
        self.world.in_flight(fleets, limit).await
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        self.world.apply(fence, step).await
    }
}

/// One pass in which the alert about `rnd` asks for a failover while pipelines of another fleet are looked for.
async fn passed_meanwhile(harness: &Harness, deed: Deed) -> Arc<Status> {
    let world = Meanwhile { world: harness.world.clone(), deed: Arc::default() };
    let setup = setup_of(harness.topology.clone(), world.clone());
    let setups = watch::Sender::new(Arc::new(setup));
    *world.deed.lock().unwrap() = Some((deed, setups.clone()));
    let (sender, status) = watch::channel(Arc::new(Status::default()));
    let metrics = Arc::new(Metrics::new(status.clone(), harness.store.clone(), harness.now()));
    let bell = Arc::new(Notify::new());
    let mut reconciler = Reconciler::new(setups.subscribe(), harness.store.clone(), bell, sender, metrics);
    reconciler.pass(&CancellationToken::new()).await.unwrap();
    assert!(world.deed.lock().unwrap().is_none(), "pipelines were looked for");
    status.borrow().clone()
}

fn setup_of(topology: Topology, world: Meanwhile) -> Setup<Meanwhile> {
    let period = Duration::from_secs(10);
    Setup { topology: Arc::new(topology), period, drain_look: period, concurrency: 1, world, judges }
}

/// `rnd` is about to fail over, and somebody asks for a planned move of a sticky fleet `qa`.
async fn beside_a_sticky_fleet() -> Harness {
    let qa: FleetName = "qa".parse().unwrap();
    let sticky = |topology: &mut Topology| {
        let (deadline, look_back) = (SignedDuration::from_mins(30), SignedDuration::from_hours(24));
        let drain = Drain { deadline, look_back, policy: DrainPolicy::Hold };
        let fleet = topology.fleets[&rnd()].clone();
        let pools = fleet.pools.iter().map(|(cluster, pool)| {
            let selector = PoolSelector::HomeTag(format!("qa-{cluster}").parse().unwrap());
            (cluster.clone(), Pool { selector, ..pool.clone() })
        });
        let (pools, routing_tag) = (pools.collect(), "qa-runner".parse().unwrap());
        let name = qa.clone();
        let fleet = Fleet { name, routing_tag, pools, dns: None, drain: Some(drain), ..fleet };
        topology.fleets.insert(qa.clone(), fleet);
    };
    let harness = adopted(sticky).await;
    harness.blue_dies().await;
    let request = NewRequest {
        fleet: qa,
        to: cluster("green"),
        expected: Some(cluster("blue")),
        reason: "maintenance".to_owned(),
        author: "ada".to_owned(),
        at: harness.now(),
        overrides: Vec::new(),
    };
    harness.store.add_request(&request).await.unwrap();
    harness
}

#[tokio::test]
async fn what_ended_while_pipelines_were_looked_for_moves_nothing() {
    let harness = beside_a_sticky_fleet().await;
    let mut ended = signal(Action::Failover, Some("blue"), harness.second() - 60, SignalState::Resolved);
    ended.last_seen = harness.now();
    let store = harness.store.clone();
    let resolves: Deed = Box::new(move |_| {
        async move {
            store.upsert_signals(vec![ended]).await.unwrap();
        }
        .boxed()
    });
    let status = passed_meanwhile(&harness, resolves).await;
    let fleet = &status.fleets[&rnd()];
    assert_eq!((fleet.outcome, fleet.generation.0), (Outcome::Steady, 1), "{}", fleet.sentence);
    assert_eq!(harness.holders(), ["blue"]);
}

#[tokio::test]
async fn a_reload_while_pipelines_are_looked_for_counts_in_that_pass() {
    let harness = beside_a_sticky_fleet().await;
    let mut topology = harness.topology.clone();
    topology.fleets.get_mut(&rnd()).unwrap().enabled = false;
    let world = Meanwhile { world: harness.world.clone(), deed: Arc::default() };
    let reloads: Deed = Box::new(move |setups| {
        setups.send_replace(Arc::new(setup_of(topology, world)));
        async {}.boxed()
    });
    let status = passed_meanwhile(&harness, reloads).await;
    let fleet = &status.fleets[&rnd()];
    let expected = (Outcome::Held(Gate::Enabled), 1);
    assert_eq!((fleet.outcome, fleet.generation.0), expected, "{}", fleet.sentence);
    assert_eq!(harness.holders(), ["blue"]);
}
