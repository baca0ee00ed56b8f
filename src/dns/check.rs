//! Whether a name could be switched: what `switchyard check` asks.

use std::collections::BTreeSet;

use domain::base::iana::{Rcode, Rtype};
use futures::future::join;

use super::{
    marker,
    rfc2136::{Rfc2136, Sent},
    update::{self, Change},
    wire::{self, Data},
};
use crate::model::{DnsView, Finding, RecordSet, RecordType, Seen, Severity};

/// Above this, in seconds, clients notice a switch late.
const LONG_TTL: u32 = 60;

impl Rfc2136 {
    /// Whether the name could be switched between the configured sets: reads it at every authoritative address and
    /// asks for the change under a condition that never holds. Changes nothing.
    pub async fn check(&self, name: &str, record_type: RecordType, configured: &[RecordSet]) -> Vec<Finding> {
        if let Err(why) = self.names(name) {
            return vec![Finding::new(
                Severity::Error,
                why,
                "configure a name inside the zone, below its apex",
            )];
        }
        let (view, rights) =
            join(self.look(name, record_type), self.probe(name, record_type, configured)).await;
        let mut findings = vec![rights];
        findings.push(self.check_record(name, &view, configured));
        findings.extend(check_servers(name, &view));
        findings.extend(self.check_ttl(name, &view, configured).await);
        findings.extend(self.check_ownership(name, &view));
        findings
    }

    /// The real change under a condition that never holds: servers check the rights first.
    async fn probe(&self, name: &str, record_type: RecordType, configured: &[RecordSet]) -> Finding {
        let rtype = wire::rtype(record_type);
        let example = match record_type {
            RecordType::A => "192.0.2.1",
            RecordType::Aaaa => "2001:db8::1",
            RecordType::Cname => "never.invalid.",
        };
        let example = RecordSet { ttl: 30, values: BTreeSet::from([example.to_owned()]) };
        let set = configured.first().unwrap_or(&example);
        let change = self.names(name).and_then(|names| {
            Ok(Change {
                zone: self.zone.clone(),
                name: names.name,
                rtype,
                from: Vec::new(),
                to: update::set_data(rtype, set)?,
                ttl: set.ttl,
                marker_name: names.marker,
                marker_from: None,
                marker_to: update::text_data("probe").ok_or("no text")?,
            })
        });
        let change = match change {
            Ok(change) => change,
            Err(why) => return Finding::new(Severity::Error, why, "correct the configured values"),
        };
        match self.send(|id| update::compose_probe(&change, id), None).await {
            Sent::Not(why) => Finding::new(
                Severity::Error,
                format!("updates cannot be sent: {why}"),
                "open TCP to the server",
            ),
            Sent::Lost(why) => Finding::new(
                Severity::Error,
                format!("updates are not answered: {why}"),
                "see the log of the server",
            ),
            Sent::Replied(reply) => match (reply.rcode, &reply.signature) {
                (Rcode::NXRRSET | Rcode::YXRRSET | Rcode::YXDOMAIN | Rcode::NXDOMAIN, Ok(())) => {
                    Finding::new(
                        Severity::Ok,
                        // PowerDNS has no rights by name: there, this proves the key alone.
                        format!("{} takes updates of {name} with this key", self.server),
                        "",
                    )
                }
                (
                    Rcode::NOERROR | Rcode::NXRRSET | Rcode::YXRRSET | Rcode::YXDOMAIN | Rcode::NXDOMAIN,
                    signature,
                ) => {
                    let signed = if signature.is_ok() { "" } else { " without a valid signature" };
                    Finding::new(
                        Severity::Error,
                        format!(
                            "{} answered {}{signed} to a probe that cannot hold",
                            self.server, reply.rcode
                        ),
                        "it does not keep to RFC 2136 or RFC 8945: do not let it be switched",
                    )
                }
                (Rcode::SERVFAIL, _) => Finding::new(
                    Severity::Error,
                    format!("{} cannot write the zone (SERVFAIL)", self.server),
                    "see the log of the server",
                ),
                _ => {
                    let (what, mend) = self.refusal(&reply, name);
                    Finding::new(Severity::Error, what, mend)
                }
            },
        }
    }

    fn check_record(&self, name: &str, view: &DnsView, configured: &[RecordSet]) -> Finding {
        match &view.primary {
            Seen::Unknown(why) => Finding::new(
                Severity::Error,
                format!("{name} cannot be read at {}: {why}", self.server),
                "see the reason",
            ),
            Seen::Absent => Finding::new(
                Severity::Warning,
                format!("{name} does not exist yet"),
                "create it before it is needed: resolvers remember that a name is absent",
            ),
            Seen::Known(set) if configured.iter().any(|c| c.values == set.values) => {
                Finding::new(Severity::Ok, format!("{name} is {set}"), "")
            }
            Seen::Known(set) => Finding::new(
                Severity::Error,
                format!("{name} is {set}, which is configured for no cluster"),
                "correct the record or the configuration",
            ),
        }
    }

    async fn check_ttl(&self, name: &str, view: &DnsView, configured: &[RecordSet]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let late = |what: String, ttl: u32| {
            Finding::new(
                Severity::Warning,
                format!(
                    "{what}: a client that asked just before a switch stays with the old answer for {ttl} s"
                ),
                format!(
                    "lower it to {LONG_TTL} s or less well before it is needed; lowering it in the switch is too late"
                ),
            )
        };
        let seen = view.primary.known().into_iter().chain(view.servers.values().filter_map(Seen::known));
        match seen.map(|set| set.ttl).max() {
            Some(ttl) if ttl > LONG_TTL => findings.push(late(format!("{name} has TTL {ttl} s"), ttl)),
            _ => {}
        }
        match configured.iter().map(|set| set.ttl).max() {
            Some(ttl) if ttl > LONG_TTL => {
                findings.push(late(format!("TTL {ttl} s is configured for {name}"), ttl));
            }
            _ => {}
        }
        if view.primary == Seen::Absent
            && let Some(seconds) = self.negative_ttl().await.filter(|seconds| *seconds > LONG_TTL)
        {
            findings.push(late(format!("{name} is absent, and resolvers remember that"), seconds));
        }
        findings
    }

    /// How long resolvers may remember that a name of the zone is absent.
    async fn negative_ttl(&self) -> Option<u32> {
        let server = self.primary().await.ok()?;
        let reply = self.ask(server, &self.zone, Rtype::SOA).await.ok()?;
        reply.at(&self.zone, Rtype::SOA).find_map(|record| match record.data {
            Data::Authority(seconds) => Some(seconds),
            _ => None,
        })
    }

    fn check_ownership(&self, name: &str, view: &DnsView) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(obstacle) = &view.obstacle {
            findings.push(Finding::new(
                Severity::Error,
                format!("{name} must not be written: {obstacle}"),
                "take the name from the other owner, or remove the other records",
            ));
        }
        let marker_name = format!("{}.{name}", marker::LABEL);
        match &view.marker {
            Seen::Known(marker) if marker.owner != self.owner => findings.push(Finding::new(
                Severity::Error,
                format!("{name} belongs to {}, not to {}", marker.owner, self.owner),
                format!("set the owner in the configuration, or delete the TXT record {marker_name}"),
            )),
            Seen::Known(marker) => findings.push(Finding::new(
                Severity::Ok,
                format!("{name} belongs to {}, written for decision {}", marker.owner, marker.generation),
                "",
            )),
            Seen::Absent => {
                findings.push(Finding::new(Severity::Ok, format!("nobody has claimed {name} yet"), ""))
            }
            Seen::Unknown(why) if !matches!(view.primary, Seen::Unknown(_)) => findings.push(Finding::new(
                Severity::Error,
                format!("who owns {name} is unknown: {why}"),
                format!("delete the TXT record {marker_name} if nobody needs it"),
            )),
            Seen::Unknown(_) => {}
        }
        findings
    }
}

fn check_servers(name: &str, view: &DnsView) -> Vec<Finding> {
    let one = |(server, seen): (&String, &Seen<RecordSet>)| match (seen, &view.primary) {
        (Seen::Unknown(why), _) => Finding::new(
            Severity::Warning,
            format!("{name} cannot be read at {server}: {why}"),
            "make it reachable from here over UDP and TCP, or name the servers to verify at in the configuration",
        ),
        (_, Seen::Unknown(_)) => Finding::new(Severity::Ok, format!("{server} answers for {name}"), ""),
        (seen, primary) if seen == primary => {
            Finding::new(Severity::Ok, format!("{server} has {name} as the primary has it"), "")
        }
        (Seen::Known(set), _) => Finding::new(
            Severity::Warning,
            format!("{server} has {name} as {set}: not as the primary has it"),
            "the zone does not reach this server, or not yet: check NOTIFY and transfers",
        ),
        (Seen::Absent, _) => Finding::new(
            Severity::Warning,
            format!("{server} does not have {name}"),
            "the zone does not reach this server, or not yet: check NOTIFY and transfers",
        ),
    };
    let mut findings: Vec<Finding> = view.servers.iter().map(one).collect();
    if view.servers.is_empty() {
        findings.push(Finding::new(
            Severity::Error,
            format!("no authoritative address of {name} can be asked from here"),
            "name the servers to verify at in the configuration",
        ));
    }
    findings
}
