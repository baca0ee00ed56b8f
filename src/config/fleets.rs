//! The fleets, their pools, and what must fit together among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use jiff::{SignedDuration, tz::TimeZone};

use super::{
    Queries,
    values::{Count, DnsName, Ids, Kinds, List, Mode, Positive, Ratio, Required, Times},
    walk::{Table, Walk, nearest},
};
use crate::model::{
    Approval, ClusterName, DescriptionPattern, DnsRecord, Drain, Failback, Fleet, FleetName, MOVES_KNOWN,
    MoveKind, Park, Pool, PoolSelector, Question, RecordType, Require, RunnerId, Tag, Thresholds, Window,
};

/// A configured DNS provider; the zone is unknown when its own section is broken.
pub(super) struct Provider {
    pub(super) zone: Option<String>,
}

/// The fleets and what is asked about them.
#[derive(Default)]
pub(super) struct Fleets {
    pub(super) fleets: BTreeMap<FleetName, Fleet>,
    pub(super) queries: BTreeMap<FleetName, Queries>,
}

/// Reads `[evidence]` and `[fleets]`.
pub(super) fn read(root: &Table<'_>, providers: &BTreeMap<String, Provider>) -> Fleets {
    let common = Texts::common(&root.table("evidence"));
    let mut all = Fleets::default();
    let tables = root.named("fleets", "<fleet>");
    if tables.is_empty() && !root.has("fleets") {
        root.problem("fleets", "there is none: nothing would be watched", "add [fleets.NAME]");
    }
    for (name, table) in tables {
        let texts = common.with(&table.table("evidence"));
        let name: Option<FleetName> = parsed(table.walk, table.here(), &name);
        let fleet = fleet(name.as_ref(), &table, providers);
        if let (Some(name), Some(fleet)) = (name, fleet) {
            all.queries.insert(name.clone(), texts.about(&fleet));
            all.fleets.insert(name, fleet);
        }
    }
    all
}

/// A name that the user gave.
fn parsed<T: std::str::FromStr<Err = impl std::fmt::Display>>(
    walk: &Walk,
    path: &str,
    name: &str,
) -> Option<T> {
    match name.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            walk.problem(path, error.to_string(), "rename it");
            None
        }
    }
}

fn fleet(
    name: Option<&FleetName>,
    table: &Table<'_>,
    providers: &BTreeMap<String, Provider>,
) -> Option<Fleet> {
    let walk = table.walk;
    let enabled = table.default("enabled", "false");
    let routing_tag: Option<Tag> = table.required("routing_tag");
    if let Some(tag) = &routing_tag {
        walk.claim(
            "tag",
            tag.as_str(),
            &table.path("routing_tag"),
            "give every fleet and every pool its own tag",
        );
    }
    table.default::<Mode>("mode", "exclusive");
    let failback = table.default::<Failback>("failback", "manual");
    let park = table.default::<Park>("park", "untag");
    let thresholds = thresholds(&table.table("thresholds"));
    let min_able = table.default::<Count>("min_able", "1").0.get();
    let require = require(&table.table("require"));
    let signal_hold: SignedDuration = table.default("signal_hold", "15s");
    let cool_down: SignedDuration = table.default("cool_down", "30m");
    if cool_down > MOVES_KNOWN {
        table.problem("cool_down", "is longer than moves are known for", "make it at most 7d");
    }
    let move_deadline = table.default::<Positive>("move_deadline", "10m").0;
    let approval_timeout = table.default::<Positive>("approval_timeout", "1h").0;
    let approval = match table.default::<Required>("approval", "none") {
        Required(true) => Approval::Required(approval_timeout),
        Required(false) => Approval::NotRequired,
    };
    let window = table.has("window").then(|| window(&table.table("window")));
    let drain = drain(table);

    let dns = table.has("dns").then(|| record(&table.table("dns"), providers));
    let record = dns.as_ref().and_then(Option::as_ref);
    let mut pools = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut whole = true;
    for (cluster, table) in table.named("pools", "<cluster>") {
        let cluster_name: Option<ClusterName> = parsed(walk, table.here(), &cluster);
        let pool = pool(&table, dns.is_some(), record);
        names.insert(cluster);
        match (cluster_name, pool) {
            (Some(cluster), Some(pool)) => {
                pools.insert(cluster, pool);
            }
            _ => whole = false,
        }
    }
    let prefer = prefer(table, &names);
    if names.is_empty() && !table.has("pools") {
        table.problem("pools", "there is none", "add [fleets.NAME.pools.CLUSTER] for every cluster");
    } else if names.len() == 1 {
        table.warn("pools", "there is only one: the fleet can go nowhere", "add a pool in another cluster");
    }
    warn_same_targets(table, &pools);
    let dns = match dns {
        Some(record) => Some(record?),
        None => None,
    };
    let window = match window {
        Some(window) => Some(window?),
        None => None,
    };
    let name = name?.clone();
    let routing_tag = routing_tag?;
    whole.then_some(Fleet {
        name,
        enabled,
        routing_tag,
        prefer: prefer?,
        pools,
        failback,
        park,
        dns,
        thresholds,
        min_able,
        require,
        signal_hold,
        cool_down,
        move_deadline,
        approval,
        window,
        drain,
    })
}

fn window(table: &Table<'_>) -> Option<Window> {
    let times = table.required::<Times>("times").map(|times| times.0);
    let time_zone: TimeZone = table.default("time_zone", "UTC");
    let applies_to = match table.optional::<Kinds>("applies_to") {
        Some(Kinds(kinds)) => kinds,
        None => BTreeSet::from([MoveKind::Failback, MoveKind::Switchover]),
    };
    if applies_to.contains(&MoveKind::Failover) {
        table.warn(
            "applies_to",
            "names failover: a dead cluster keeps its fleet until the window opens",
            "leave it out, unless nobody needs the fleet at other times",
        );
    }
    Some(Window { times: times?, time_zone, applies_to })
}

fn drain(table: &Table<'_>) -> Option<Drain> {
    let sticky: bool = table.default("sticky", "false");
    let deadline = table.default::<Positive>("drain_deadline", "1h").0;
    let look_back = table.default::<Positive>("drain_look_back", "24h").0;
    let policy = table.default("drain_policy", "hold");
    let idle = ["drain_deadline", "drain_look_back", "drain_policy"].into_iter().filter(|key| table.has(key));
    for key in idle.filter(|_| !sticky) {
        table.warn(key, "has no effect: the fleet is not sticky", "set sticky = true or remove it");
    }
    sticky.then_some(Drain { deadline, look_back, policy })
}

fn prefer(table: &Table<'_>, pools: &BTreeSet<String>) -> Option<Vec<ClusterName>> {
    let given = match table.optional::<List>("prefer") {
        Some(List(given)) => given,
        None if table.has("prefer") => return None,
        None if pools.len() < 2 => pools.iter().cloned().collect(),
        None => {
            let list: Vec<String> = pools.iter().map(|pool| format!("{pool:?}")).collect();
            table.problem(
                "prefer",
                "is missing",
                format!("list every pool, home first: prefer = [{}]", list.join(", ")),
            );
            return None;
        }
    };
    let mut seen = BTreeSet::new();
    let mut good = true;
    for cluster in &given {
        if !pools.contains(cluster) {
            let mend = match nearest(cluster, pools.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => {
                    format!("add [{}] or remove it", table.path(&format!("pools.{cluster}")).replace('"', ""))
                }
            };
            table.problem("prefer", format!("names {cluster:?}, which is no pool"), mend);
            good = false;
        } else if !seen.insert(cluster.clone()) {
            table.problem("prefer", format!("names {cluster:?} twice"), "name every pool once");
            good = false;
        }
    }
    for pool in pools.difference(&seen) {
        table.problem("prefer", format!("leaves out {pool:?}"), "list every pool, home first");
        good = false;
    }
    // A name that is no cluster name is told at its pool.
    good.then(|| given.iter().filter_map(|cluster| cluster.parse().ok()).collect())
}

fn require(table: &Table<'_>) -> Require {
    Require {
        api: table.default("api", "false"),
        gitops: table.default("gitops", "false"),
        backups: table.default("backups", "false"),
        backup_max_age: table.optional::<Positive>("backup_max_age").map(|age| age.0),
        convergence: table.optional::<Positive>("convergence").map(|longest| longest.0),
    }
}

fn thresholds(table: &Table<'_>) -> Thresholds {
    let ratio = |key, default| table.default::<Ratio>(key, default).0;
    let thresholds = Thresholds {
        failover: ratio("failover", "0.5"),
        able: ratio("able", "0.8"),
        failback: ratio("failback", "0.9"),
        margin: ratio("margin", "0.2"),
    };
    let Thresholds { failover, able, failback, .. } = thresholds;
    if able <= failover {
        table.problem(
            "able",
            format!("{able} is not above failover ({failover})"),
            "raise it: a cluster that just failed its fleet must not count as able to take one",
        );
    }
    if failback < able {
        table.problem(
            "failback",
            format!("{failback} is below able ({able})"),
            "raise it: the way home must ask for at least as much as the way out, or the fleet swings",
        );
    }
    thresholds
}

fn pool(table: &Table<'_>, dns_wanted: bool, record: Option<&DnsRecord>) -> Option<Pool> {
    let selector = selector(table);
    let targets = table.optional::<List>("dns");
    let broken = targets.is_none() && table.has("dns");
    let targets = targets.map(|list| list.0).unwrap_or_default();
    if dns_wanted && targets.is_empty() && !broken {
        table.problem(
            "dns",
            "is missing, and the fleet has a DNS name",
            "say what the name shall point to while this cluster holds the fleet",
        );
    } else if !dns_wanted && !targets.is_empty() {
        table.warn("dns", "has no effect: the fleet has no DNS name", "add `dns` to the fleet or remove it");
    }
    let dns = match record {
        Some(record) => values(table, record, &targets),
        None => BTreeSet::new(),
    };
    Some(Pool { selector: selector?, dns })
}

fn selector(table: &Table<'_>) -> Option<PoolSelector> {
    let walk = table.walk;
    let home_tag = table.optional::<Tag>("home_tag");
    let runners = table.optional::<Ids>("runners");
    let description = table.optional::<String>("description");
    let given: Vec<&str> =
        ["home_tag", "runners", "description"].into_iter().filter(|key| table.has(key)).collect();
    match given.as_slice() {
        [] => {
            walk.problem(
                table.here(),
                "does not say which runners belong to it",
                "set one of home_tag, runners and description",
            );
            return None;
        }
        [_] => {}
        several => {
            walk.problem(table.here(), format!("sets {}", several.join(" and ")), "keep exactly one of them");
            return None;
        }
    }
    if let Some(tag) = home_tag {
        let path = table.path("home_tag");
        walk.claim("tag", tag.as_str(), &path, "give every fleet and every pool its own tag");
        return Some(PoolSelector::HomeTag(tag));
    }
    if let Some(Ids(ids)) = runners {
        if ids.is_empty() {
            table.problem("runners", "is empty", "list the ids that GitLab shows");
            return None;
        }
        for id in &ids {
            walk.claim("runner", &id.to_string(), &table.path("runners"), "list a runner in one pool, once");
        }
        return Some(PoolSelector::Runners(ids.into_iter().map(RunnerId).collect()));
    }
    let source = description?;
    match DescriptionPattern::new(&source) {
        Ok(pattern) => {
            let path = table.path("description");
            walk.claim("description pattern", &source, &path, "give every pool its own pattern");
            Some(PoolSelector::Description(pattern))
        }
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            table.problem("description", format!("{source:?} is not a regular expression: {why}"), "mend it");
            None
        }
    }
}

/// The fleet's `dns`.
fn record(table: &Table<'_>, providers: &BTreeMap<String, Provider>) -> Option<DnsRecord> {
    let name = table.required::<DnsName>("name").map(|name| name.0);
    let record_type: Option<RecordType> = table.required("type");
    let ttl = ttl(table);
    let provider: Option<String> = table.required("provider");
    if let (Some(name), Some(record_type)) = (&name, record_type) {
        let claimed = format!("{name} {record_type}");
        table.walk.claim("DNS name", &claimed, table.here(), "give every fleet its own name");
    }
    if let Some(provider) = &provider {
        match providers.get(provider) {
            None => {
                let mend = match nearest(provider, providers.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("add [dns.providers.{provider}]"),
                };
                table.problem("provider", format!("{provider:?} is not configured"), mend);
            }
            Some(Provider { zone: Some(zone) }) => {
                if let Some(name) = &name {
                    check_zone(table, name, record_type, zone);
                }
            }
            Some(Provider { zone: None }) => {}
        }
    }
    Some(DnsRecord { name: name?, record_type: record_type?, ttl: ttl?, provider: provider? })
}

fn check_zone(table: &Table<'_>, name: &str, record_type: Option<RecordType>, zone: &str) {
    if name == zone {
        if record_type == Some(RecordType::Cname) {
            table.problem(
                "name",
                format!("{name} is the zone itself, where no CNAME can stand"),
                "take a name below it, or type A",
            );
        }
    } else if !name.ends_with(&format!(".{zone}")) {
        table.problem(
            "name",
            format!("{name} is not in the provider's zone {zone}"),
            "take a name below the zone",
        );
    }
}

fn ttl(table: &Table<'_>) -> Option<u32> {
    let Positive(ttl) = table.default("ttl", "30s");
    let seconds = u32::try_from(ttl.as_secs()).ok().filter(|_| ttl.subsec_nanos() == 0);
    match seconds {
        None => {
            table.problem("ttl", "is not in whole seconds that fit a record", "write it as \"30s\"");
            None
        }
        Some(short @ 0..5) => {
            table.problem("ttl", format!("{short} s is too short for resolvers"), "use 5s to 60s");
            None
        }
        Some(seconds) => {
            if seconds > 60 {
                table.warn("ttl", format!("{seconds} s: clients follow a move that late"), "use 5s to 60s");
            }
            Some(seconds)
        }
    }
}

/// A pool's `dns`, in the canonical form of the record's type.
fn values(table: &Table<'_>, record: &DnsRecord, targets: &[String]) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for target in targets {
        let value = match record.record_type {
            RecordType::A => target.parse::<Ipv4Addr>().ok().map(|ip| ip.to_string()),
            RecordType::Aaaa => target.parse::<Ipv6Addr>().ok().map(|ip| ip.to_string()),
            RecordType::Cname if target.parse::<std::net::IpAddr>().is_ok() => None,
            RecordType::Cname => DnsName::parse(target).map(|name| name.0),
        };
        let Some(value) = value else {
            let (what, mend) = match record.record_type {
                RecordType::A => ("an IPv4 address", "give an address, or make the fleet's dns a CNAME"),
                RecordType::Aaaa => ("an IPv6 address", "give an address, or make the fleet's dns a CNAME"),
                RecordType::Cname => ("a name", "give a name, or make the fleet's dns an A or AAAA"),
            };
            table.problem(
                "dns",
                format!("{target:?} is not {what}, as type {} needs", record.record_type),
                mend,
            );
            continue;
        };
        if value == record.name {
            table.problem("dns", format!("{value} points to itself"), "name what serves in this cluster");
        } else if !values.insert(value.clone()) {
            table.problem("dns", format!("names {value} twice"), "name it once");
        }
    }
    if record.record_type == RecordType::Cname && targets.len() > 1 {
        table.problem("dns", format!("has {} values, and a CNAME has one", targets.len()), "keep one");
    }
    values
}

fn warn_same_targets(table: &Table<'_>, pools: &BTreeMap<ClusterName, Pool>) {
    let mut seen: BTreeMap<&BTreeSet<String>, &ClusterName> = BTreeMap::new();
    for (cluster, pool) in pools.iter().filter(|(_, pool)| !pool.dns.is_empty()) {
        if let Some(other) = seen.insert(&pool.dns, cluster) {
            table.walk.warn(
                &table.path(&format!("pools.{cluster}.dns")).replace('"', ""),
                format!("is the same as in {other}: the name does not move between them"),
                "name what serves in this cluster",
            );
        }
    }
}

/// The PromQL texts with `$fleet` still in them.
#[derive(Clone)]
struct Texts {
    questions: BTreeMap<Question, String>,
    managers: String,
}

/// Whose answers stand on the shipped recording rules.
fn shipped(question: Question) -> &'static str {
    match question {
        Question::Alive => r#"fleet_runner_cluster:gitlab_runner_up:ratio{fleet="$fleet"}"#,
        Question::Able => r#"fleet_runner_cluster:gitlab_runner_polls_well:ratio{fleet="$fleet"}"#,
        Question::AbleCount => r#"fleet_runner_cluster:gitlab_runner_polls_well:count{fleet="$fleet"}"#,
        Question::GitlabUnreachable => r#"fleet_runner_cluster:gitlab_unreachable:ratio{fleet="$fleet"}"#,
        Question::ClusterApi => "runner_cluster:switchyard_cluster_api_up:min",
        Question::GitopsBroken => "runner_cluster:switchyard_gitops_broken:count",
        Question::BackupsOverdue => "runner_cluster:switchyard_velero_backups_overdue:count",
        Question::BackupAge => "runner_cluster:switchyard_velero_backup_age:seconds",
        Question::Convergence => "runner_cluster:switchyard_gitops_convergence_open:seconds",
    }
}

const MANAGERS: &str = r#"count by (runner_cluster, system_id) (gitlab_runner_api_request_statuses_total{fleet="$fleet",system_id!=""})"#;

impl Texts {
    fn common(table: &Table<'_>) -> Self {
        let ask = |key: &'static str, default: &'static str| {
            let text: String = table.default(key, default);
            if default.contains("$fleet") && !text.contains("$fleet") {
                table.warn(
                    key,
                    "does not contain $fleet: all fleets get the same answer",
                    "select by fleet=\"$fleet\"",
                );
            }
            text
        };
        Self {
            questions: Question::ALL.into_iter().map(|q| (q, ask(q.as_str(), shipped(q)))).collect(),
            managers: ask("managers", MANAGERS),
        }
    }

    /// The same with what one fleet asks differently.
    fn with(&self, table: &Table<'_>) -> Self {
        let mut texts = self.clone();
        for (question, text) in &mut texts.questions {
            if let Some(own) = table.optional::<String>(question.as_str()) {
                *text = own;
            }
        }
        if let Some(own) = table.optional::<String>("managers") {
            texts.managers = own;
        }
        texts
    }

    /// What is asked about a fleet, and nothing that it does not need.
    fn about(&self, of: &Fleet) -> Queries {
        let fleet = of.name.as_str().replace('\\', r"\\").replace('"', r#"\""#);
        let fill = |text: &String| text.replace("$fleet", &fleet);
        Queries {
            questions: self
                .questions
                .iter()
                .filter(|(question, _)| of.require.asks(**question))
                .map(|(q, text)| (*q, fill(text)))
                .collect(),
            managers: fill(&self.managers),
        }
    }
}
