//! What a story says: who there is, and what happens when.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{ClusterName, Consent, FleetName, Gate, RunnerId, SignedDuration, Tag, Topology},
    world::sim::{PrometheusFault, RateLimit, Tool, ToolFault, WriteFault},
};

/// A story, ready to be played.
#[derive(Debug, Clone)]
pub struct Story {
    /// Decides what happens by chance.
    pub seed: u64,
    /// What Switchyard is configured with.
    pub topology: Topology,
    /// The longest time between two passes of the loop.
    pub period: SignedDuration,
    /// How often Alertmanager is asked for what its webhook did not bring; never, when none.
    pub poll: Option<SignedDuration>,
    /// How many Prometheus servers there are.
    pub prometheus: usize,
    /// How many DNS servers there are.
    pub dns: usize,
    /// What runs in every cluster beside the runners.
    pub tools: BTreeSet<Tool>,
    /// What the fleets begin with.
    pub starts: BTreeMap<FleetName, Start>,
    /// What happens, in the order in which it does.
    pub events: Vec<Event>,
    /// When the story ends.
    pub end: SignedDuration,
}

/// What a fleet begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Runners in each pool.
    pub runners: usize,
    /// Who holds it.
    pub holder: Option<ClusterName>,
    /// Its runners are registered below the group that Switchyard looks at.
    pub below_the_group: bool,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, since the beginning.
    pub at: SignedDuration,
    /// The line that says so.
    pub line: usize,
    /// As it is written, without the time.
    pub text: String,
    /// What.
    pub what: Happening,
}

/// Which runners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// All of a cluster, or this share of them.
    Cluster(ClusterName, u8),
    /// One.
    Runner(RunnerId),
}

/// What can happen to a runner's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It dies.
    Kill,
    /// It starts, and all its ways are open.
    Revive,
    /// Neither Prometheus nor GitLab can be reached.
    Partition,
    /// GitLab cannot be reached.
    PartitionFromGitlab,
    /// Prometheus does not reach it.
    PartitionFromPrometheus,
    /// Its ways are open again.
    Heal,
    /// It is too busy to poll.
    Slow,
    /// It sleeps after three refusals.
    Sleep(SignedDuration),
    /// It polls again.
    Wake,
}

/// What can be wrong with Alertmanager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertmanagerFault {
    /// It is not there: no webhook, no answer to a poll.
    Down,
    /// Three peers send every message, one after the other.
    Duplicates,
    /// Messages are kept for a minute and sent in the wrong order.
    Reorder,
    /// Messages come this much later.
    Late(SignedDuration),
    /// Messages that an alert has ended get lost.
    LostResolve,
    /// Messages that an alert fires get lost.
    LostFiring,
    /// Its credential is not the one that Switchyard wants: each message is answered 401.
    WrongCredential,
}

/// What can be wrong with GitLab's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitlabFault {
    /// Nobody reaches it.
    Down,
    /// Switchyard is told to come back later.
    RateLimit(RateLimit),
    /// GraphQL is refused; REST is not.
    GraphqlRefused,
    /// Reads show what was so when this began.
    StaleReads,
    /// Everything takes this much longer.
    Slow(SignedDuration),
    /// What happens to a share of the writes.
    Writes(WriteFault, u8),
}

/// What can be wrong with the DNS servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFault {
    /// A server does not answer; none means all.
    Down(Option<usize>),
    /// A server goes on answering what it answers now.
    Behind(usize),
    /// What happens to a share of the updates.
    Writes(WriteFault, u8),
}

/// Where the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashAt {
    /// Between two passes.
    Now,
    /// Before the n-th step from now.
    BeforeStep(u32),
    /// After the n-th step from now, before anybody was told.
    AfterStep(u32),
    /// After the n-th change of the store by the loop from now.
    AfterRecord(u64),
}

/// Who does something, and why: what the audit has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// Whether runners are changed in bulk: that wakes none of them.
pub type Bulk = bool;

/// What a person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Gives a runner the routing tag, or takes it away when it has it.
    Retag(RunnerId),
    /// Pauses a runner in GitLab, or unpauses it; in bulk, or by itself.
    PauseRunner(RunnerId, bool, Bulk),
    /// Gives a runner a tag, or takes it away; right before the n-th step from now, or now.
    Tag(RunnerId, Tag, bool, Option<u32>),
    /// Gives a runner as many tags as it may have.
    FillTags(RunnerId),
    /// Deletes a runner's record.
    Delete(RunnerId),
    /// Registers a runner anew, with or without the routing tag.
    Register(RunnerId, FleetName, ClusterName, bool),
    /// Gives two clusters one runner token.
    ShareToken(FleetName, ClusterName, ClusterName),
    /// Writes a fleet's name by hand: to a cluster, or to something else.
    EditDns(FleetName, Option<ClusterName>, String),
    /// Pauses automatic moves, believing that this cluster (or nobody) holds the fleet.
    Pause(Option<FleetName>, Option<SignedDuration>, Option<Option<ClusterName>>),
    /// Allows them again.
    Resume(Option<FleetName>, Option<Option<ClusterName>>),
    /// Acknowledges a failed move.
    Ack(FleetName, Option<Option<ClusterName>>),
    /// Asks for a planned move from one cluster to another, over these closed gates.
    Switch(FleetName, Option<ClusterName>, ClusterName, Vec<Gate>),
    /// Asks for the way home from this cluster, over these closed gates.
    Failback(FleetName, Option<ClusterName>, Vec<Gate>),
    /// Takes away the proof that a cluster polls well, by a rule of the team's own, or gives it back.
    Veto(ClusterName, Option<SignedDuration>, bool),
    /// Silences every alert about a cluster.
    Silence(ClusterName, SignedDuration),
    /// Answers what waits for a person.
    Consent(FleetName, Consent, Option<Option<ClusterName>>),
    /// Starts a pipeline whose jobs need the holder's runners, or ends it.
    Pipeline(u64, bool),
    /// Changes whether Switchyard may move the fleet.
    Enable(FleetName, bool),
}

/// What can be expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// These clusters carry the routing tag, and no other.
    Holder(Vec<ClusterName>),
    /// This cluster shall hold the fleet, as decided.
    Decided(ClusterName),
    /// The DNS name says this cluster.
    Dns(ClusterName),
    /// What the last pass came to.
    Outcome(String),
    /// How a gate was judged, and what it saw.
    Gate(Gate, bool, Option<String>),
    /// What the last answer to a person's request was.
    Answer(String),
    /// How many moves were decided.
    Moves(usize),
    /// How many steps were sent since the beginning.
    Steps(usize),
    /// A runner has these tags in GitLab, and no other.
    Tags(RunnerId, BTreeSet<Tag>),
    /// A runner gets the fleet's jobs, or not.
    TakesJobs(RunnerId, bool),
    /// The history has an entry with this text, or none.
    History(String, bool),
    /// What `switchyard plan` shows has this text, or not.
    Plan(String, bool),
    /// A series of Switchyard's metrics has this value.
    Metric(String, f64),
    /// A property holds, or not.
    Is(Property, bool),
}

/// What a fleet can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// The last move failed and nobody has acknowledged it.
    Latched,
    /// A move is under way.
    Moving,
    /// A person paused it.
    Paused,
    /// What is seen differs from what is decided.
    Drift,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// To runner processes.
    Runners(Who, Fate),
    /// To GitLab.
    Gitlab(GitlabFault),
    /// To DNS.
    Dns(DnsFault),
    /// To one Prometheus server, or to all; about one cluster, or about all.
    Prometheus(Option<usize>, PrometheusFault, Option<ClusterName>),
    /// To Alertmanager.
    Alertmanager(AlertmanagerFault),
    /// To a tool in a cluster.
    Tool(Tool, ClusterName, ToolFault),
    /// All is well again with this part.
    Mend(Part),
    /// A person does something.
    Human(Deed, Signature),
    /// Switchyard's process ends at once and is started again.
    Crash(CrashAt),
    /// Switchyard is stopped, or started.
    Running(bool),
    /// This process leads those that share the store, or another one does.
    Lead(bool),
    /// The clock of Switchyard's machine jumps.
    Clock(SignedDuration),
    /// Something must be so.
    Expect(FleetName, Claim),
}

impl Happening {
    /// Whether a person does more than Switchyard's own means allow.
    pub(super) fn meddles(&self) -> bool {
        let Self::Human(deed, _) = self else { return false };
        !matches!(
            deed,
            Deed::Pause(..)
                | Deed::Resume(..)
                | Deed::Ack(..)
                | Deed::Switch(..)
                | Deed::Failback(..)
                | Deed::Silence(..)
                | Deed::Consent(..)
                | Deed::Pipeline(..)
        )
    }
}

/// What can be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// GitLab.
    Gitlab,
    /// Every DNS server.
    Dns,
    /// Every Prometheus server.
    Prometheus,
    /// Alertmanager.
    Alertmanager,
    /// A tool in every cluster.
    Tool(Tool),
    /// All of them.
    Everything,
}
