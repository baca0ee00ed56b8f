//! Prometheus' rules and Alertmanager, as the shipped files set them up.
//!
//! Every Prometheus server evaluates the two fleet rules and the watchdog on what it scraped, sends what fires once a
//! minute, and Alertmanager lets an alert end that nobody has sent for four minutes. Messages are the JSON of the real
//! webhook, and what the poll reads is the JSON of the real `/api/v2/alerts`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::story::AlertmanagerFault;
use crate::{
    model::{Action, ClusterName, FleetName, Question, Sample, SignedDuration, Timestamp, Topology},
    world::sim::State,
};

/// How often rules are evaluated, and how often Alertmanager looks at its groups.
pub(super) const EVALUATION: SignedDuration = SignedDuration::from_secs(15);
const FAILOVER_FOR: SignedDuration = SignedDuration::from_mins(1);
const FAILOVER_KEEP: SignedDuration = SignedDuration::from_mins(5);
const FAILBACK_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Prometheus sends what fires at most this often.
const RESEND: SignedDuration = SignedDuration::from_mins(1);
/// Four times that: then an alert that nobody sends has ended.
const EXPIRY: SignedDuration = SignedDuration::from_mins(4);
const REPEAT: SignedDuration = SignedDuration::from_mins(5);
const REPEAT_WATCHDOG: SignedDuration = SignedDuration::from_mins(1);
/// How long the second and third peer wait for the first.
const PEER_WAIT: SignedDuration = SignedDuration::from_secs(15);
/// How long until a message that was refused comes again.
const GROUP_INTERVAL: SignedDuration = SignedDuration::from_secs(10);
const GROUP_INTERVAL_WATCHDOG: SignedDuration = SignedDuration::from_secs(30);
const REORDERED_FOR: SignedDuration = SignedDuration::from_mins(1);

/// One alert: what its labels say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    action: Action,
    about: Option<(FleetName, ClusterName)>,
}

impl Key {
    fn name(&self) -> &'static str {
        match self.action {
            Action::Failover => "SwitchyardFailover",
            Action::Failback => "SwitchyardFailback",
            Action::Watchdog => "SwitchyardWatchdog",
        }
    }

    fn labels(&self) -> BTreeMap<&'static str, String> {
        let mut labels = BTreeMap::from([
            ("alertname", self.name().to_owned()),
            ("switchyard", self.action.as_str().to_owned()),
        ]);
        if let Some((fleet, cluster)) = &self.about {
            labels.insert("fleet", fleet.to_string());
            labels.insert("runner_cluster", cluster.to_string());
        }
        labels
    }

    fn fingerprint(&self) -> String {
        // Any stable 64 bits do.
        let text = format!("{:?}", self.labels());
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    fn sentence(&self, ends: bool) -> Option<String> {
        let (fleet, cluster) = self.about.as_ref()?;
        let what = if ends { "ends" } else { "fires" };
        Some(format!("{} about {fleet} in {cluster} {what}", self.name()))
    }
}

/// One alert in one Prometheus server.
#[derive(Debug, Clone, Default)]
struct Rule {
    pending: Option<Timestamp>,
    firing: Option<Timestamp>,
    last_true: Option<Timestamp>,
    sent: Option<Timestamp>,
}

/// One alert in Alertmanager.
#[derive(Debug, Clone)]
struct Active {
    starts_at: Timestamp,
    expires: Timestamp,
    updated_at: Timestamp,
    /// The servers that say it fires.
    by: BTreeSet<usize>,
    ended: Option<Timestamp>,
    /// When something was sent last that was taken, or lost on the way.
    notified: Option<Timestamp>,
    /// What was sent was refused: not before this time again.
    retry: Option<Timestamp>,
}

/// A message on its way.
#[derive(Clone)]
pub(super) struct Message {
    due: Timestamp,
    order: i64,
    pub(super) body: Vec<u8>,
    key: Key,
    /// As it was before this was sent.
    before: Active,
}

/// Prometheus' rules and Alertmanager.
#[derive(Default)]
pub(super) struct Alerting {
    rules: BTreeMap<(usize, Key), Rule>,
    active: BTreeMap<Key, Active>,
    messages: Vec<Message>,
    silences: Vec<(ClusterName, Timestamp)>,
    sequence: i64,
    pub(super) fault: Option<AlertmanagerFault>,
}

impl Alerting {
    pub(super) fn silence(&mut self, cluster: ClusterName, until: Timestamp) {
        self.silences.push((cluster, until));
    }

    /// Evaluates every rule and sends what there is to send; what changed in Alertmanager comes back in words.
    /// `holders` is what Switchyard exports; `listens` says whether it answers the webhook.
    pub(super) fn tick(
        &mut self,
        world: &State,
        topology: &Topology,
        holders: &BTreeMap<FleetName, Vec<ClusterName>>,
        listens: bool,
    ) -> Vec<String> {
        let now = world.now;
        let mut said = Vec::new();
        let samples = world.samples(&[Question::Alive, Question::Able]);
        for server in 0..world.prometheus.len() {
            if world.prometheus[server].evaluates() {
                let answer = |fleet: &FleetName, question| {
                    world.answer(&samples, server, fleet, question).result.unwrap_or_default()
                };
                self.evaluate(server, now, answer, topology, holders, &mut said);
            }
        }
        self.notify(now, listens, &mut said);
        said
    }

    fn evaluate(
        &mut self,
        server: usize,
        now: Timestamp,
        answer: impl Fn(&FleetName, Question) -> BTreeMap<ClusterName, Sample>,
        topology: &Topology,
        holders: &BTreeMap<FleetName, Vec<ClusterName>>,
        said: &mut Vec<String>,
    ) {
        let watchdog = Key { action: Action::Watchdog, about: None };
        self.rule(server, watchdog, true, SignedDuration::ZERO, SignedDuration::ZERO, now, said);
        for (name, fleet) in &topology.fleets {
            let (alive, able) = (answer(name, Question::Alive), answer(name, Question::Able));
            let holders = holders.get(name).map(Vec::as_slice).unwrap_or_default();
            for cluster in &fleet.prefer {
                let holds = holders.contains(cluster);
                let about = Some((name.clone(), cluster.clone()));
                let dead = alive.get(cluster).is_some_and(|s| s.value < fleet.thresholds.failover) && holds;
                let key = Key { action: Action::Failover, about: about.clone() };
                self.rule(server, key, dead, FAILOVER_FOR, FAILOVER_KEEP, now, said);
                if fleet.home() == Some(cluster) {
                    let well = able.get(cluster).is_some_and(|s| s.value >= fleet.thresholds.failback);
                    let key = Key { action: Action::Failback, about };
                    self.rule(server, key, well && !holds, FAILBACK_FOR, SignedDuration::ZERO, now, said);
                }
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a rule with its `for` and `keep_firing_for`, and where it runs"
    )]
    fn rule(
        &mut self,
        server: usize,
        key: Key,
        is: bool,
        wait: SignedDuration,
        keep: SignedDuration,
        now: Timestamp,
        said: &mut Vec<String>,
    ) {
        let rule = self.rules.entry((server, key.clone())).or_default();
        if is {
            rule.last_true = Some(now);
            let pending = *rule.pending.get_or_insert(now);
            if now.duration_since(pending) >= wait {
                rule.firing.get_or_insert(now);
            }
        } else {
            rule.pending = None;
            if rule.firing.is_some() && rule.last_true.is_none_or(|at| now.duration_since(at) >= keep) {
                (rule.firing, rule.sent) = (None, None);
                if let Some(active) = self.active.get_mut(&key) {
                    active.by.remove(&server);
                }
            }
        }
        if let Some(firing) = rule.firing
            && rule.sent.is_none_or(|sent| now.duration_since(sent) >= RESEND)
        {
            rule.sent = Some(now);
            self.receive(server, key, firing, now, said);
        }
    }

    fn receive(
        &mut self,
        server: usize,
        key: Key,
        starts_at: Timestamp,
        now: Timestamp,
        said: &mut Vec<String>,
    ) {
        let expires = now.checked_add(EXPIRY).unwrap_or(now);
        if self.active.get(&key).is_none_or(|active| active.ended.is_some()) {
            said.extend(key.sentence(false));
        }
        let active = self.active.entry(key).or_insert_with(|| Active {
            starts_at,
            expires,
            updated_at: now,
            by: BTreeSet::new(),
            ended: None,
            notified: None,
            retry: None,
        });
        if active.ended.take().is_some() {
            // It fires again before anybody was told that it had ended.
            active.starts_at = starts_at;
        }
        active.starts_at = active.starts_at.min(starts_at);
        (active.expires, active.updated_at) = (expires, now);
        active.by.insert(server);
    }

    fn muted(&self, key: &Key, now: Timestamp) -> bool {
        let Some((_, cluster)) = &key.about else { return false };
        self.silences.iter().any(|(silenced, until)| silenced == cluster && now < *until)
    }

    fn notify(&mut self, now: Timestamp, listens: bool, said: &mut Vec<String>) {
        let reached = listens && self.fault != Some(AlertmanagerFault::Down);
        let keys: Vec<Key> = self.active.keys().cloned().collect();
        for key in keys {
            let muted = self.muted(&key, now);
            let Some(active) = self.active.get_mut(&key) else { continue };
            if active.ended.is_none() && (active.by.is_empty() || now >= active.expires) {
                active.ended = Some(now);
                said.extend(key.sentence(true));
            }
            let ended = active.ended;
            let repeat = if key.action == Action::Watchdog { REPEAT_WATCHDOG } else { REPEAT };
            let due = match (ended, active.notified) {
                (None, None) => true,
                (None, Some(at)) => now.duration_since(at) >= repeat,
                // One that was never told of is not told to have ended, nor does a watchdog send it.
                (Some(_), notified) => notified.is_some() && key.action != Action::Watchdog,
            };
            if ended.is_some() && (muted || !due) {
                self.active.remove(&key);
                continue;
            }
            if muted || !due || !reached || active.retry.is_some_and(|at| now < at) {
                continue;
            }
            let before = active.clone();
            (active.notified, active.retry) = (Some(now), None);
            if ended.is_some() {
                self.active.remove(&key);
            }
            let lost = match self.fault {
                Some(AlertmanagerFault::LostResolve) => ended.is_some(),
                Some(AlertmanagerFault::LostFiring) => ended.is_none() && key.action != Action::Watchdog,
                _ => false,
            };
            if !lost {
                self.send(&key, before, now);
            }
        }
    }

    fn send(&mut self, key: &Key, before: Active, now: Timestamp) {
        let Active { starts_at, ended, .. } = before;
        let status = if ended.is_some() { "resolved" } else { "firing" };
        let alert = json!({
            "status": status,
            "labels": key.labels(),
            "annotations": {},
            "startsAt": starts_at,
            "endsAt": ended.map_or("0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
            "generatorURL": "",
            "fingerprint": key.fingerprint(),
        });
        let body = json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": status, "receiver": "switchyard",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": [alert],
        })
        .to_string()
        .into_bytes();
        let later = |by: SignedDuration| now.checked_add(by).unwrap_or(now);
        let order = self.sequence;
        self.sequence += 1;
        let message = Message { due: now, order, body, key: key.clone(), before };
        match self.fault {
            Some(AlertmanagerFault::Duplicates) => {
                for peer in 0..3 {
                    self.messages.push(Message { due: later(PEER_WAIT * peer), ..message.clone() });
                }
            }
            Some(AlertmanagerFault::Reorder) => {
                let step = REORDERED_FOR.as_secs();
                let due = (now.as_second() / step + 1) * step;
                let due = Timestamp::from_second(due).unwrap_or(now);
                self.messages.push(Message { due, order: -order, ..message });
            }
            Some(AlertmanagerFault::Late(by)) => self.messages.push(Message { due: later(by), ..message }),
            _ => self.messages.push(message),
        }
    }

    /// When the next message arrives.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.messages.iter().map(|m| m.due).min()
    }

    /// The messages that arrive now, in the order in which they do.
    pub(super) fn arriving(&mut self, now: Timestamp) -> Vec<Message> {
        let (mut due, later): (Vec<Message>, Vec<Message>) =
            std::mem::take(&mut self.messages).into_iter().partition(|m| m.due <= now);
        self.messages = later;
        due.sort_by_key(|m| (m.due, m.order));
        due
    }

    /// A message was answered 4xx: nothing is written down of it, and it comes again at the next group interval. What is to
    /// be told of it comes back in words.
    pub(super) fn refused(&mut self, message: Message, code: u16, now: Timestamp) -> Option<String> {
        let Message { key, before, .. } = message;
        let watchdog = key.action == Action::Watchdog;
        let wait = if watchdog { GROUP_INTERVAL_WATCHDOG } else { GROUP_INTERVAL };
        let about = key.about.clone().map(|(fleet, cluster)| format!(" about {fleet} in {cluster}"));
        let said = format!("the message of {}{} is answered {code}", key.name(), about.unwrap_or_default());
        let notified = before.notified;
        let active = self.active.entry(key).or_insert(before);
        (active.notified, active.retry) = (notified, now.checked_add(wait).ok());
        (!watchdog).then_some(said)
    }

    /// What `/api/v2/alerts` answers; nothing when nobody answers.
    pub(super) fn answer(&self, now: Timestamp) -> Option<Vec<u8>> {
        if self.fault == Some(AlertmanagerFault::Down) {
            return None;
        }
        let rows: Vec<Value> = self
            .active
            .iter()
            .filter(|(_, active)| active.ended.is_none())
            .map(|(key, active)| {
                let muted = self.muted(key, now);
                let silenced: &[&str] = if muted { &["a-silence"] } else { &[] };
                json!({
                    "labels": key.labels(),
                    "annotations": {},
                    "startsAt": active.starts_at,
                    "endsAt": active.expires,
                    "updatedAt": active.updated_at,
                    "fingerprint": key.fingerprint(),
                    "generatorURL": "",
                    "receivers": [{"name": "switchyard"}],
                    "status": {
                        "state": if muted { "suppressed" } else { "active" },
                        "silencedBy": silenced,
                        "inhibitedBy": [],
                    },
                })
            })
            .collect();
        Some(Value::from(rows).to_string().into_bytes())
    }
}
