//! Looking at a name: at the primary, and at every authoritative address.

use std::{collections::BTreeMap, net::SocketAddr};

use domain::base::iana::{Rcode, Rtype};
use futures::future::{join, join_all};

use super::{
    marker,
    rfc2136::{HostPort, Rfc2136},
    wire::{self, Data, DnsName, Reply, WireError, name_text, parse_name},
};
use crate::model::{DnsView, Marker, RecordSet, RecordType, Seen};

/// A managed name and the one of its marker.
pub(super) struct Names {
    pub(super) name: DnsName,
    pub(super) marker: DnsName,
}

/// An authoritative address, or why it is not known.
pub(super) type Authority = (String, Result<SocketAddr, String>);

impl Rfc2136 {
    /// A managed name, if it is one that can be managed.
    pub(super) fn names(&self, text: &str) -> Result<Names, String> {
        let wrong = |why: &str| format!("{text} cannot be managed: {why}");
        let name = parse_name(text).ok_or_else(|| wrong("it is not a domain name"))?;
        if name == self.zone {
            return Err(wrong("it is the apex of the zone"));
        }
        if !name.ends_with(&self.zone) {
            return Err(wrong(&format!("it is not in the zone {}", name_text(&self.zone))));
        }
        if name_text(&name).starts_with("*.") {
            return Err(wrong("it is a wildcard"));
        }
        let marker = parse_name(&format!("{}.{}", marker::LABEL, name_text(&name)))
            .ok_or_else(|| wrong("it is too long for a marker below it"))?;
        Ok(Names { name, marker })
    }

    pub(super) async fn look(&self, name: &str, record_type: RecordType) -> DnsView {
        let names = match self.names(name) {
            Ok(names) => names,
            Err(why) => return unseen(&why, Some(why.clone())),
        };
        let servers = async {
            let authorities = self.authorities().await;
            self.look_at_servers(&authorities, &names.name, record_type).await
        };
        let (view, servers) = join(self.look_at_primary(name, record_type), servers).await;
        DnsView { servers, ..view }
    }

    /// The primary's view alone.
    pub(super) async fn look_at_primary(&self, name: &str, record_type: RecordType) -> DnsView {
        let names = match self.names(name) {
            Ok(names) => names,
            Err(why) => return unseen(&why, Some(why.clone())),
        };
        let server = match self.primary().await {
            Ok(server) => server,
            Err(why) => return unseen(&why, None),
        };
        let (record, (marker, obstacle)) = join(
            self.records(server, &names.name, record_type),
            join(self.marker(server, &names.marker), self.obstacle(server, &names.name, record_type)),
        )
        .await;
        // Why the primary cannot be seen is said once.
        let obstacle = if matches!(record, Seen::Unknown(_)) { None } else { obstacle };
        DnsView { primary: record, marker, servers: BTreeMap::new(), obstacle }
    }

    pub(super) async fn primary(&self) -> Result<SocketAddr, String> {
        let addresses = self.server.resolve(self.patience).await?;
        addresses.first().copied().ok_or_else(|| format!("{} has no address", self.server))
    }

    pub(super) async fn look_at_servers(
        &self,
        authorities: &[Authority],
        name: &DnsName,
        record_type: RecordType,
    ) -> BTreeMap<String, Seen<RecordSet>> {
        let rtype = wire::rtype(record_type);
        let seen = join_all(authorities.iter().map(|(text, address)| async move {
            let seen = match address {
                Err(why) => Seen::Unknown(why.clone()),
                Ok(address) => match self.ask(*address, name, rtype).await {
                    // A name server's IPv6 address must not hold up a machine that has no IPv6.
                    Err(error) if self.verify.is_empty() && address.is_ipv6() && error.no_route() => {
                        return None;
                    }
                    Err(error) => Seen::Unknown(error.full()),
                    Ok(reply) => record_set(&reply, *address, name, rtype),
                },
            };
            Some((text.clone(), seen))
        }));
        seen.await.into_iter().flatten().collect()
    }

    /// Every address that must show a change.
    pub(super) async fn authorities(&self) -> Vec<Authority> {
        let resolve = |host: HostPort| async move {
            match host.resolve(self.patience).await {
                Ok(addresses) => addresses.into_iter().map(|a| (a.to_string(), Ok(a))).collect(),
                Err(why) => vec![(host.to_string(), Err(why))],
            }
        };
        let mut found: Vec<Authority> = Vec::new();
        if self.verify.is_empty() {
            let target = self.primary().await;
            match &target {
                Ok(server) => found.extend(self.name_servers(*server).await),
                Err(why) => found.push((format!("NS {}", name_text(&self.zone)), Err(why.clone()))),
            }
            found.push(match target {
                Ok(server) => (server.to_string(), Ok(server)),
                Err(why) => (self.server.to_string(), Err(why)),
            });
        } else {
            found.extend(join_all(self.verify.iter().cloned().map(resolve)).await.into_iter().flatten());
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        found
    }

    /// The addresses of the zone's name servers: the primary itself knows those in its zone, the system's resolver
    /// the others.
    async fn name_servers(&self, server: SocketAddr) -> Vec<Authority> {
        let zone = name_text(&self.zone);
        let reply = match self.ask(server, &self.zone, Rtype::NS).await {
            Ok(reply) => reply,
            Err(error) => return vec![(format!("NS {zone}"), Err(error.full()))],
        };
        let hosts: Vec<String> = reply.at(&self.zone, Rtype::NS).filter_map(value).collect();
        if hosts.is_empty() {
            return vec![(format!("NS {zone}"), Err(format!("{server} names no server of {zone}")))];
        }
        let found = join_all(hosts.iter().map(|host| self.name_server(server, host))).await;
        found.into_iter().flatten().collect()
    }

    async fn name_server(&self, server: SocketAddr, host: &str) -> Vec<Authority> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        if let Some(name) = parse_name(host).filter(|name| name.ends_with(&self.zone)) {
            let asked = [Rtype::A, Rtype::AAAA].map(|rtype| (rtype, self.ask(server, &name, rtype)));
            for (rtype, reply) in
                join_all(asked.map(|(rtype, reply)| async move { (rtype, reply.await) })).await
            {
                let Ok(reply) = reply else { continue };
                let values = reply.at(&name, rtype).filter_map(value);
                addresses.extend(values.filter_map(|v| Some(SocketAddr::new(v.parse().ok()?, 53))));
            }
        }
        if addresses.is_empty() {
            match HostPort::new(host, 53).resolve(self.patience).await {
                Ok(found) => addresses = found,
                Err(why) => return vec![(format!("{host}:53"), Err(why))],
            }
        }
        addresses.into_iter().map(|a| (a.to_string(), Ok(a))).collect()
    }

    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        name: &DnsName,
        rtype: Rtype,
    ) -> Result<Reply, WireError> {
        wire::query(server, name, rtype, self.patience).await
    }

    async fn records(&self, server: SocketAddr, name: &DnsName, record_type: RecordType) -> Seen<RecordSet> {
        let rtype = wire::rtype(record_type);
        match self.ask(server, name, rtype).await {
            Ok(reply) => record_set(&reply, server, name, rtype),
            Err(error) => Seen::Unknown(error.full()),
        }
    }

    async fn marker(&self, server: SocketAddr, name: &DnsName) -> Seen<Marker> {
        let reply = match self.ask(server, name, Rtype::TXT).await {
            Ok(reply) => reply,
            Err(error) => return Seen::Unknown(error.full()),
        };
        if let Err(why) = authoritative(&reply, server) {
            return Seen::Unknown(why);
        }
        let texts: Vec<&Vec<Vec<u8>>> = reply.at(name, Rtype::TXT).filter_map(text).collect();
        match texts.as_slice() {
            [] => Seen::Absent,
            [strings] if strings.len() == 1 && marker::read(&strings[0]).is_some() => {
                marker::read(&strings[0]).map_or(Seen::Absent, Seen::Known)
            }
            others => {
                let shown: Vec<String> = others.iter().map(|strings| printable(strings)).collect();
                Seen::Unknown(format!("{} is not an owner marker: {}", name_text(name), shown.join(" | ")))
            }
        }
    }

    /// Why the name must not be written, as far as the primary tells: other types at it, external-dns' markers.
    async fn obstacle(&self, server: SocketAddr, name: &DnsName, record_type: RecordType) -> Option<String> {
        let shown = name_text(name);
        let shown = shown.as_str();
        let beside: &[Rtype] = match record_type {
            RecordType::Cname => &[Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::MX],
            RecordType::A => &[Rtype::CNAME, Rtype::AAAA],
            RecordType::Aaaa => &[Rtype::CNAME, Rtype::A],
        };
        let other_types = join_all(beside.iter().map(|rtype| async move {
            match self.ask(server, name, *rtype).await {
                Err(error) => Some(format!("whether it has {rtype} records is unknown: {}", error.full())),
                Ok(reply) => match authoritative(&reply, server) {
                    Err(why) => Some(format!("whether it has {rtype} records is unknown: {why}")),
                    Ok(()) => {
                        reply.at(name, *rtype).next().map(|_| format!("{shown} also has {rtype} records"))
                    }
                },
            }
        }));
        // Both forms of external-dns: a name for each type, and the bare name of older releases.
        let markers = ["", "cname-", "a-", "aaaa-"].map(|prefix| format!("{prefix}{shown}"));
        let foreign = join_all(markers.into_iter().map(|marker| async move {
            // Too long to exist.
            let marker_name = parse_name(&marker)?;
            match self.ask(server, &marker_name, Rtype::TXT).await {
                Err(error) => Some(format!("whether {marker} exists is unknown: {}", error.full())),
                Ok(reply) => reply
                    .at(&marker_name, Rtype::TXT)
                    .filter_map(self::text)
                    .map(|strings| printable(strings))
                    .find(|text| text.contains("heritage=external-dns"))
                    .map(|text| format!("external-dns owns it: {marker} says {text}")),
            }
        }));
        let (other_types, foreign) = join(other_types, foreign).await;
        let why: Vec<String> = foreign.into_iter().chain(other_types).flatten().collect();
        (!why.is_empty()).then(|| why.join("; "))
    }
}

fn unseen(why: &str, obstacle: Option<String>) -> DnsView {
    DnsView {
        primary: Seen::Unknown(why.to_owned()),
        marker: Seen::Unknown(why.to_owned()),
        servers: BTreeMap::new(),
        obstacle,
    }
}

/// Whether an answer counts: authoritative, and about what there is.
fn authoritative(reply: &Reply, server: SocketAddr) -> Result<(), String> {
    match reply.rcode {
        Rcode::NOERROR | Rcode::NXDOMAIN if reply.authoritative => Ok(()),
        Rcode::NOERROR | Rcode::NXDOMAIN => Err(format!("{server} is not authoritative for the name")),
        rcode => Err(format!("{server} answered {rcode}")),
    }
}

fn record_set(reply: &Reply, server: SocketAddr, name: &DnsName, rtype: Rtype) -> Seen<RecordSet> {
    if let Err(why) = authoritative(reply, server) {
        return Seen::Unknown(why);
    }
    match reply.at(name, rtype).map(|record| record.ttl).max() {
        None => Seen::Absent,
        Some(ttl) => {
            Seen::Known(RecordSet { ttl, values: reply.at(name, rtype).filter_map(value).collect() })
        }
    }
}

fn value(record: &wire::Record) -> Option<String> {
    match &record.data {
        Data::Value(value) => Some(value.clone()),
        _ => None,
    }
}

fn text(record: &wire::Record) -> Option<&Vec<Vec<u8>>> {
    match &record.data {
        Data::Text(strings) => Some(strings),
        _ => None,
    }
}

/// A foreign text for people, on one line and not endless.
fn printable(strings: &[Vec<u8>]) -> String {
    let text = String::from_utf8_lossy(&strings.concat()).escape_debug().to_string();
    if text.chars().count() > 300 { text.chars().take(300).chain("...".chars()).collect() } else { text }
}
