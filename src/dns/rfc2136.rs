//! The provider for servers that take signed updates: BIND, Knot, PowerDNS and others.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    time::Duration,
};

use domain::{
    base::{
        Rtype,
        iana::{Rcode, TsigRcode},
        message_builder::{AdditionalBuilder, PushError},
    },
    rdata::tsig::Time48,
    tsig::Key,
};
use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    KeyError, key, marker,
    update::{self, Change, UpdateReply},
    wire::{self, DnsName, Patience, WireError, name_text, parse_name},
};
use crate::model::{BootTime, DnsStep, DnsView, Fence, Marker, RecordSet, Seen, StepOutcome};

/// How to reach and to change a zone.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of the server that takes updates (the primary). Without a port, 53.
    pub server: String,
    /// The zone.
    pub zone: String,
    /// The name of the TSIG key. Empty: as it stands beside the secret.
    pub tsig_name: String,
    /// `hmac-sha256` (also when empty), `hmac-sha384` or `hmac-sha512`.
    pub tsig_algorithm: String,
    /// The secret in Base64, a key as `tsig-keygen` prints it, or `algorithm:name:secret`.
    pub tsig_secret: SecretString,
    /// Who this Switchyard is in owner markers: 1 to 63 printable characters, no `;`.
    pub owner: String,
    /// Which servers must show a change: `host:port`, or `host` for port 53. Empty: all name servers of the zone
    /// and `server`.
    pub verify: Vec<String>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub reply_timeout: Duration,
}

impl Settings {
    /// Settings with 3 s for connection and answer, `switchyard` as owner, and the zone's name servers to verify at.
    pub fn new(server: &str, zone: &str, tsig_name: &str, tsig_secret: SecretString) -> Self {
        Self {
            server: server.to_owned(),
            zone: zone.to_owned(),
            tsig_name: tsig_name.to_owned(),
            tsig_algorithm: "hmac-sha256".to_owned(),
            tsig_secret,
            owner: "switchyard".to_owned(),
            verify: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            reply_timeout: Duration::from_secs(3),
        }
    }
}

/// Why settings cannot be used. Nothing but a change of the settings mends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zone is no domain name.
    #[error("{0:?} is not a domain name")]
    Zone(String),
    /// A server is not `host:port` or `host`.
    #[error("{0:?} is not an address: use host:port")]
    Server(String),
    /// The owner id does not fit into a marker.
    #[error("owner {0:?} must be 1 to 63 printable ASCII characters, without ';'")]
    Owner(String),
    /// The key cannot be used.
    #[error("the TSIG key cannot be used")]
    Key(#[from] KeyError),
}

/// A zone whose primary takes signed updates (RFC 2136 with TSIG).
///
/// Each write is one message over TCP, sent once. Its preconditions are the record set and the owner marker exactly
/// as read; it replaces both or nothing. The key needs the right to change two names, and no more:
///
/// ```text
/// update-policy {
///     grant KEY name runner.company.test. CNAME A AAAA;
///     grant KEY name _failover-owner.runner.company.test. TXT;
/// };
/// ```
pub struct Rfc2136 {
    pub(super) server: HostPort,
    pub(super) zone: DnsName,
    pub(super) owner: String,
    pub(super) verify: Vec<HostPort>,
    pub(super) patience: Patience,
    key: Key,
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfc2136")
            .field("server", &self.server)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// Where a server is, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Server(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::new(&address.ip().to_string(), address.port()));
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self::new(bare, 53));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, 53),
        };
        if parse_name(host).is_none() || port == 0 { Err(wrong()) } else { Ok(Self::new(host, port)) }
    }

    /// Every address of the host, from the system's resolver.
    pub(super) async fn resolve(&self, patience: Patience) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found: Vec<SocketAddr> = match tokio::time::timeout(patience.connect, lookup).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => return Err(format!("{} has no address: {error}", self.host)),
            Err(_) => return Err(format!("the address of {} was not found in time", self.host)),
        };
        if found.is_empty() { Err(format!("{} has no address", self.host)) } else { Ok(found) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What came of one attempt to send an update.
pub(super) enum Sent {
    /// It was not sent.
    Not(String),
    /// It was sent, and no reply can be read.
    Lost(String),
    /// There is a reply.
    Replied(UpdateReply),
}

impl Rfc2136 {
    /// Checks the settings; no server is asked.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        if !marker::valid_owner(&settings.owner) {
            return Err(Error::Owner(settings.owner));
        }
        Ok(Self {
            server: HostPort::parse(&settings.server)?,
            zone: parse_name(&settings.zone).ok_or(Error::Zone(settings.zone))?,
            owner: settings.owner,
            verify: settings.verify.iter().map(|v| HostPort::parse(v)).collect::<Result<_, _>>()?,
            patience: Patience { connect: settings.connect_timeout, reply: settings.reply_timeout },
            key: key::key(&settings.tsig_name, &settings.tsig_algorithm, &settings.tsig_secret)?,
        })
    }

    /// Looks at a name (absolute, with the final dot): the record set and the owner marker at the primary, whatever
    /// forbids a write, and the record set at every authoritative address. What could not be seen is `Unknown`.
    ///
    /// IPv6 addresses of the zone's name servers are left out when this machine has no route to them.
    pub async fn observe(&self, name: &str, record_type: crate::model::RecordType) -> DnsView {
        self.look(name, record_type).await
    }

    /// Carries out a step: one message, one attempt, and one look afterwards.
    pub async fn apply(&self, fence: &Fence, step: &DnsStep) -> StepOutcome {
        let change = match self.change(fence, step) {
            Ok(change) => change,
            Err(outcome) => return outcome,
        };
        let reply = match self.send(|id| update::compose(&change, id), fence.deadline).await {
            Sent::Not(why) => {
                let why = format!("{} was not changed: {why}", step.name);
                return StepOutcome::Failed { why, transient: true };
            }
            Sent::Lost(why) => Err(why),
            Sent::Replied(reply) => Ok(reply),
        };
        let view = self.look_at_primary(&step.name, step.record_type).await;
        match (self.judge(fence, step, &view), reply) {
            (Effect::Ours, _) => StepOutcome::Done,
            (_, Err(why)) => StepOutcome::Unknown(why),
            (seen, Ok(reply)) => self.outcome(&reply, seen, &view, step),
        }
    }

    /// The message for a step, or why none may be sent.
    fn change(&self, fence: &Fence, step: &DnsStep) -> Result<Change, StepOutcome> {
        let never = |why: String| StepOutcome::Failed { why, transient: false };
        let names = self.names(&step.name).map_err(never)?;
        let rtype = wire::rtype(step.record_type);
        let (from, previous) = match &step.from {
            Seen::Known(set) => (update::set_data(rtype, set).map_err(never)?, Some(set)),
            Seen::Absent => (Vec::new(), None),
            Seen::Unknown(why) => {
                let why = format!("what {} says now is unknown: {why}", step.name);
                return Err(StepOutcome::Failed { why, transient: true });
            }
        };
        let marker_from = match &step.marker {
            Seen::Known(marker) => {
                self.may_replace(fence, &step.name, marker).map_err(never)?;
                Some(&marker.text)
            }
            Seen::Absent => None,
            Seen::Unknown(why) => {
                let why = format!("who owns {} is unknown: {why}", step.name);
                return Err(StepOutcome::Failed { why, transient: true });
            }
        };
        let to = update::set_data(rtype, &step.to).map_err(never)?;
        if to.is_empty() || (rtype == Rtype::CNAME && to.len() > 1) {
            return Err(never(format!("{} {} cannot be {} values", step.name, step.record_type, to.len())));
        }
        // Distinct from any other attempt, also of another process: the hasher's keys are random.
        let op = format!("{:016x}", RandomState::new().hash_one(0));
        let marker_to = marker::format(&self.owner, fence, &op, step.record_type, previous);
        let text = |text: &str| {
            update::text_data(text).ok_or_else(|| never(format!("the owner marker is too long: {text}")))
        };
        Ok(Change {
            zone: self.zone.clone(),
            name: names.name,
            rtype,
            from,
            to,
            ttl: step.to.ttl,
            marker_name: names.marker,
            marker_from: marker_from.map(|marker| text(marker)).transpose()?,
            marker_to: text(&marker_to)?,
        })
    }

    /// Whether a decision may write over a marker.
    fn may_replace(&self, fence: &Fence, name: &str, marker: &Marker) -> Result<(), String> {
        let Some(parsed) = marker::parse(&marker.text) else {
            return Err(format!("the owner marker of {name} has another form: {}", marker.text));
        };
        if parsed.owner != self.owner {
            return Err(format!("{name} belongs to {}, not to {}", parsed.owner, self.owner));
        }
        if parsed.fleet != fence.fleet {
            return Err(format!(
                "{name} belongs to fleet {}, not to {}; if that fleet is no more, delete the TXT record {}.{name}",
                parsed.fleet,
                fence.fleet,
                marker::LABEL
            ));
        }
        if parsed.generation > fence.generation {
            return Err(format!(
                "{name} was written for decision {}, which is newer than {}",
                parsed.generation, fence.generation
            ));
        }
        Ok(())
    }

    /// Signs a fresh message and sends it, once.
    pub(super) async fn send(
        &self,
        compose: impl Fn(u16) -> Result<AdditionalBuilder<Vec<u8>>, PushError>,
        deadline: Option<BootTime>,
    ) -> Sent {
        let server = match self.server.resolve(self.patience).await {
            Ok(addresses) => addresses,
            Err(why) => return Sent::Not(why),
        };
        let mut refused = WireError::ConnectTimeout(server[0], Duration::ZERO);
        for address in server {
            let mut header = domain::base::Header::new();
            header.set_random_id();
            let id = header.id();
            let signed = compose(id).and_then(|message| update::sign(message, &self.key, Time48::now()));
            let Ok((message, transaction)) = signed else {
                return Sent::Not("the update does not fit into a message".to_owned());
            };
            match wire::exchange(address, &message, self.patience, deadline).await {
                Ok(bytes) => {
                    return match update::read_reply(&transaction, id, bytes, Time48::now()) {
                        Some(reply) => Sent::Replied(reply),
                        None => Sent::Lost(WireError::Malformed(address).full()),
                    };
                }
                Err(error) if error.sent() => return Sent::Lost(error.full()),
                Err(error) => refused = error,
            }
        }
        Sent::Not(refused.full())
    }

    /// What a look after the attempt proves.
    fn judge(&self, fence: &Fence, step: &DnsStep, view: &DnsView) -> Effect {
        let (record, marker) = match (&view.primary, &view.marker) {
            (Seen::Unknown(why), _) => return Effect::Unseen(why.clone()),
            (_, Seen::Unknown(why)) => return Effect::Unseen(why.clone()),
            (record, marker) => (record, marker),
        };
        let parsed = marker.known().and_then(|marker| marker::parse(&marker.text));
        let ours = parsed.is_some_and(|m| {
            m.owner == self.owner && m.fleet == fence.fleet && m.generation == fence.generation
        });
        if ours && record.known() == Some(&step.to) {
            return Effect::Ours;
        }
        if let Some(Err(why)) = marker.known().map(|m| self.may_replace(fence, &step.name, m)) {
            return Effect::Forbidden(why);
        }
        if *record == step.from && *marker == step.marker {
            Effect::Unchanged(describe(record))
        } else {
            Effect::Otherwise
        }
    }

    /// The outcome of an attempt that was answered and whose effect is not to be seen.
    fn outcome(&self, reply: &UpdateReply, seen: Effect, view: &DnsView, step: &DnsStep) -> StepOutcome {
        let name = &step.name;
        let failed = |why, transient| StepOutcome::Failed { why, transient };
        let verified = reply.signature.is_ok();
        let unsigned = match &reply.signature {
            Ok(()) => String::new(),
            Err(error) => format!("; the signature of the reply cannot be verified: {error}"),
        };
        match reply.rcode {
            Rcode::NOERROR | Rcode::NXRRSET | Rcode::YXRRSET | Rcode::YXDOMAIN | Rcode::NXDOMAIN
                if !verified =>
            {
                StepOutcome::Unknown(format!("{} answered {}{unsigned}", self.server, reply.rcode))
            }
            Rcode::NOERROR => match seen {
                Effect::Unseen(why) => StepOutcome::Unknown(format!(
                    "{} said yes, and {name} cannot be read back: {why}",
                    self.server
                )),
                Effect::Forbidden(why) => failed(why, false),
                Effect::Unchanged(is) => failed(
                    format!(
                        "{} said yes and changed nothing: {name} still is {is}{}",
                        self.server,
                        beside(view)
                    ),
                    false,
                ),
                Effect::Ours | Effect::Otherwise => failed(
                    format!(
                        "{} said yes, but {name} is {}: somebody else changed it too{}",
                        self.server,
                        describe(&view.primary),
                        beside(view)
                    ),
                    true,
                ),
            },
            Rcode::NXRRSET | Rcode::YXRRSET | Rcode::YXDOMAIN | Rcode::NXDOMAIN => match seen {
                Effect::Forbidden(why) => failed(why, false),
                _ if view.obstacle.is_some() => {
                    failed(format!("{name} must not be written{}", beside(view)), false)
                }
                Effect::Unseen(why) => failed(
                    format!("{name} is no longer as it was read, and cannot be read again: {why}"),
                    true,
                ),
                Effect::Unchanged(is) => failed(
                    format!(
                        "{} says that {name} is not {is}, which it serves: a wildcard, or another view",
                        self.server
                    ),
                    false,
                ),
                Effect::Ours | Effect::Otherwise => failed(
                    format!(
                        "{name} is no longer as it was read: it was {}, it is {}",
                        describe(&step.from),
                        describe(&view.primary)
                    ),
                    true,
                ),
            },
            Rcode::SERVFAIL => {
                failed(format!("{} cannot write the zone now (SERVFAIL){unsigned}", self.server), true)
            }
            _ => {
                let (what, mend) = self.refusal(reply, name);
                failed(format!("{what}; {mend}"), false)
            }
        }
    }

    /// A refusal in words: what the server said, and what mends it.
    pub(super) fn refusal(&self, reply: &UpdateReply, name: &str) -> (String, String) {
        let (server, zone, key) = (&self.server, name_text(&self.zone), self.key.name());
        let claim = if reply.signature.is_ok() || reply.tsig_error.is_some() { "" } else { " (unsigned)" };
        match (reply.tsig_error, reply.rcode) {
            (Some((TsigRcode::BADKEY, _)), _) => (
                format!("{server} does not know the key {key} (BADKEY) for zone {zone}"),
                format!("name and algorithm ({}) must be as on the server", self.key.algorithm()),
            ),
            (Some((TsigRcode::BADSIG, _)), _) => (
                format!("{server} has another secret for the key {key} (BADSIG), zone {zone}"),
                "copy the secret from the server".to_owned(),
            ),
            (Some((TsigRcode::BADTIME, clock)), _) => {
                let clock = clock
                    .and_then(|s| Timestamp::from_second(i64::try_from(s).ok()?).ok())
                    .map_or_else(String::new, |at| format!("; the server's clock says {at}"));
                (
                    format!("{server} finds that the clocks differ (BADTIME), key {key}, zone {zone}{clock}"),
                    "set the clocks: 300 s are tolerated".to_owned(),
                )
            }
            (_, Rcode::REFUSED) => (
                format!("{server} refused{claim} to change {name} in zone {zone} with key {key}"),
                "the key needs the right to it, and the server must be the zone's primary; PowerDNS also refuses a \
                 wrong key, secret or clock this way"
                    .to_owned(),
            ),
            (_, Rcode::NOTAUTH) => (
                format!("{server} is not authoritative{claim} for zone {zone}, or key {key} may not change {name}"),
                "check the zone, that the server is its primary, and the key's rights".to_owned(),
            ),
            (_, Rcode::NOTZONE) => (
                format!("{server} says that {name} is not in zone {zone}{claim} (key {key})"),
                "check the zone".to_owned(),
            ),
            (_, rcode) => (
                format!("{server} answered {rcode}{claim} to an update of {name} in zone {zone} with key {key}"),
                "see the log of the server".to_owned(),
            ),
        }
    }
}

/// What a look after an attempt proves.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    /// The record is as wanted, by this decision.
    Ours,
    /// Everything is as it was.
    Unchanged(String),
    /// Something else is there.
    Otherwise,
    /// Somebody is there who must not be written over.
    Forbidden(String),
    /// It cannot be seen.
    Unseen(String),
}

fn describe(record: &Seen<RecordSet>) -> String {
    match record {
        Seen::Known(set) => set.to_string(),
        Seen::Absent => "absent".to_owned(),
        Seen::Unknown(why) => format!("unknown ({why})"),
    }
}

fn beside(view: &DnsView) -> String {
    view.obstacle.as_ref().map_or_else(String::new, |obstacle| format!("; {obstacle}"))
}
