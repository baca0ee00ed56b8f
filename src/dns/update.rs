//! The update message: one transaction that replaces a record set and its owner marker, if both are as read.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::{
    base::{
        Message, MessageBuilder, ParsedName, UnknownRecordData,
        iana::{Class, Opcode, Rcode, Rtype, TsigRcode},
        message_builder::{AdditionalBuilder, PushError},
    },
    rdata::tsig::{Time48, Tsig},
    tsig::{ClientTransaction, Key, ValidationError},
};

use super::wire::{DnsName, name_text, parse_name};
use crate::model::RecordSet;

/// Record data that is already in the form of the wire.
pub(super) type RawData = UnknownRecordData<Vec<u8>>;

/// What an update asks for.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) zone: DnsName,
    pub(super) name: DnsName,
    pub(super) rtype: Rtype,
    /// What must be there; empty: nothing of this type.
    pub(super) from: Vec<RawData>,
    pub(super) to: Vec<RawData>,
    pub(super) ttl: u32,
    pub(super) marker_name: DnsName,
    /// The marker that must be there, or none.
    pub(super) marker_from: Option<RawData>,
    pub(super) marker_to: RawData,
}

/// What a server answered to an update.
#[derive(Debug)]
pub(super) struct UpdateReply {
    pub(super) rcode: Rcode,
    /// What the server objects to in the signature, and its clock if it says so. Not authenticated.
    pub(super) tsig_error: Option<(TsigRcode, Option<u64>)>,
    /// Whether the reply is signed as it must be.
    pub(super) signature: Result<(), ValidationError>,
}

/// A value in the form of the wire; none when it is not of the type, or not canonical: then it would not be
/// recognised when it is read back.
pub(super) fn value_data(rtype: Rtype, value: &str) -> Option<RawData> {
    let (octets, canonical) = match rtype {
        Rtype::A => {
            let address: Ipv4Addr = value.parse().ok()?;
            (address.octets().to_vec(), address.to_string())
        }
        Rtype::AAAA => {
            let address: Ipv6Addr = value.parse().ok()?;
            (address.octets().to_vec(), address.to_string())
        }
        Rtype::CNAME => {
            let name = parse_name(value)?;
            let canonical = name_text(&name);
            (name.into_octets(), canonical)
        }
        _ => return None,
    };
    if canonical != value {
        return None;
    }
    RawData::from_octets(rtype, octets).ok()
}

/// The values of a set in the form of the wire.
pub(super) fn set_data(rtype: Rtype, set: &RecordSet) -> Result<Vec<RawData>, String> {
    set.values
        .iter()
        .map(|value| {
            value_data(rtype, value).ok_or_else(|| format!("{value:?} is not a canonical value for {rtype}"))
        })
        .collect()
}

/// A text as a single character string; none when it is too long.
pub(super) fn text_data(text: &str) -> Option<RawData> {
    let mut octets = vec![u8::try_from(text.len()).ok()?];
    octets.extend_from_slice(text.as_bytes());
    RawData::from_octets(Rtype::TXT, octets).ok()
}

fn nothing(rtype: Rtype) -> RawData {
    #[expect(clippy::expect_used, reason = "no data is not too long")]
    RawData::from_octets(rtype, Vec::new()).expect("empty")
}

/// The message, not signed yet.
pub(super) fn compose(change: &Change, id: u16) -> Result<AdditionalBuilder<Vec<u8>>, PushError> {
    let Change { zone, name, rtype, from, to, ttl, marker_name, marker_from, marker_to } = change;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::UPDATE);
    let mut builder = builder.question();
    builder.push((zone, Rtype::SOA, Class::IN))?;

    let mut must = builder.answer();
    for data in from {
        must.push((name, Class::IN, 0, data.clone()))?;
    }
    for absent in absent_types(*rtype, from.is_empty()) {
        must.push((name, Class::NONE, 0, nothing(absent)))?;
    }
    match marker_from {
        Some(data) => must.push((marker_name, Class::IN, 0, data.clone()))?,
        None => must.push((marker_name, Class::NONE, 0, nothing(Rtype::TXT)))?,
    }

    let mut update = must.authority();
    update.push((name, Class::ANY, 0, nothing(*rtype)))?;
    for data in to {
        update.push((name, Class::IN, *ttl, data.clone()))?;
    }
    update.push((marker_name, Class::ANY, 0, nothing(Rtype::TXT)))?;
    update.push((marker_name, Class::IN, *ttl, marker_to.clone()))?;
    Ok(update.additional())
}

/// The message of a rights probe: the same change under a condition that never holds.
pub(super) fn compose_probe(change: &Change, id: u16) -> Result<AdditionalBuilder<Vec<u8>>, PushError> {
    let impossible = value_data(Rtype::CNAME, "never.invalid.").into_iter().collect();
    // The condition is about another type than the change, so that it cannot hold for any type.
    let probe = Change { from: impossible, ..change.clone() };
    compose(&probe, id)
}

/// The types that must not be at a name: servers say yes to a CNAME beside other data and change nothing.
fn absent_types(rtype: Rtype, from_nothing: bool) -> Vec<Rtype> {
    match rtype {
        // Where a CNAME is, nothing else can be; where none is, nothing else may be ("name is not in use").
        Rtype::CNAME if from_nothing => vec![Rtype::ANY],
        Rtype::CNAME => vec![],
        _ => {
            let family = if rtype == Rtype::A { Rtype::AAAA } else { Rtype::A };
            let mut types = vec![Rtype::CNAME, family];
            types.extend(from_nothing.then_some(rtype));
            types
        }
    }
}

/// Signs a message: afterwards it is complete.
pub(super) fn sign(
    mut message: AdditionalBuilder<Vec<u8>>,
    key: &Key,
    now: Time48,
) -> Result<(Vec<u8>, ClientTransaction<&Key>), PushError> {
    let transaction = ClientTransaction::request(key, &mut message, now)?;
    Ok((message.finish(), transaction))
}

/// Reads the reply to an update; none when it is malformed or answers something else.
pub(super) fn read_reply(
    transaction: &ClientTransaction<&Key>,
    id: u16,
    bytes: Vec<u8>,
    now: Time48,
) -> Option<UpdateReply> {
    let mut message = Message::from_octets(bytes).ok()?;
    let header = message.header();
    if !header.qr() || header.opcode() != Opcode::UPDATE || header.id() != id {
        return None;
    }
    // Before the signature is verified: `domain` 0.12.3 takes a signed BADTIME for a bad signature, because it
    // hashes the 6 bytes of the server's clock as 8.
    let tsig_error = message
        .get_last_additional::<Tsig<_, ParsedName<_>>>()
        .filter(|record| record.data().error() != TsigRcode::NOERROR)
        .map(|record| (record.data().error(), record.data().other_time().map(seconds)));
    let rcode = header.rcode();
    let signature = transaction.answer(&mut message, now);
    Some(UpdateReply { rcode, tsig_error, signature })
}

fn seconds(time: Time48) -> u64 {
    let [a, b, c, d, e, f] = time.into_octets();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use domain::tsig::Algorithm;

    use super::*;

    fn name(text: &str) -> DnsName {
        parse_name(text).unwrap()
    }

    fn change() -> Change {
        let cname = |text| value_data(Rtype::CNAME, text).unwrap();
        Change {
            zone: name("company.test"),
            name: name("runner.company.test"),
            rtype: Rtype::CNAME,
            from: vec![cname("ingress.blue.company.test.")],
            to: vec![cname("ingress.green.company.test.")],
            ttl: 30,
            marker_name: name("_failover-owner.runner.company.test"),
            marker_from: text_data("old"),
            marker_to: text_data("new").unwrap(),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Written out by hand from RFC 2136 section 2: header, zone, preconditions, updates.
    #[test]
    fn the_message_is_what_the_rfc_says() {
        let zone = "07636f6d70616e79047465737400";
        let runner = format!("0672756e6e6572{zone}");
        let marker = format!("0f5f6661696c6f7665722d6f776e6572{runner}");
        let blue = format!("07696e677265737304626c7565{zone}");
        let green = format!("07696e677265737305677265656e{zone}");
        let expected = [
            "1234 2800 0001 0002 0004 0000",
            &format!("{zone} 0006 0001"),
            &format!("{runner} 0005 0001 00000000 001b {blue}"),
            &format!("{marker} 0010 0001 00000000 0004 036f6c64"),
            &format!("{runner} 0005 00ff 00000000 0000"),
            &format!("{runner} 0005 0001 0000001e 001c {green}"),
            &format!("{marker} 0010 00ff 00000000 0000"),
            &format!("{marker} 0010 0001 0000001e 0004 036e6577"),
        ]
        .concat()
        .replace(' ', "");
        assert_eq!(hex(&compose(&change(), 0x1234).unwrap().finish()), expected);
    }

    #[test]
    fn what_is_absent_must_be_absent() {
        let absent = |change: &Change| -> Vec<(String, Rtype)> {
            let message = compose(change, 1).unwrap().into_message();
            let records = message.prerequisite().unwrap().map(|r| r.unwrap());
            records.filter(|r| r.class() == Class::NONE).map(|r| (r.owner().to_string(), r.rtype())).collect()
        };
        let runner = || "runner.company.test".to_owned();
        let marker = || "_failover-owner.runner.company.test".to_owned();
        let new = Change { from: Vec::new(), marker_from: None, ..change() };
        assert_eq!(absent(&new), [(runner(), Rtype::ANY), (marker(), Rtype::TXT)]);
        let a = value_data(Rtype::A, "192.0.2.1").unwrap();
        let a = Change { rtype: Rtype::A, from: vec![a.clone()], to: vec![a], ..change() };
        assert_eq!(absent(&a), [(runner(), Rtype::CNAME), (runner(), Rtype::AAAA)]);
        let a = Change { from: Vec::new(), ..a };
        assert_eq!(absent(&a), [(runner(), Rtype::CNAME), (runner(), Rtype::AAAA), (runner(), Rtype::A)]);
    }

    #[test]
    fn only_canonical_values_are_sent() {
        for (rtype, value) in [
            (Rtype::A, "192.0.2.256"),
            (Rtype::A, "2001:db8::1"),
            (Rtype::AAAA, "2001:DB8::1"),
            (Rtype::AAAA, "2001:db8:0::1"),
            (Rtype::CNAME, "Ingress.test."),
            (Rtype::CNAME, "ingress.test"),
            (Rtype::CNAME, "not a name."),
            (Rtype::MX, "10 mail.test."),
        ] {
            assert!(value_data(rtype, value).is_none(), "{rtype} {value}");
        }
    }

    fn key() -> Key {
        Key::new(Algorithm::Sha256, b"secret", "key".parse().unwrap(), None, None).unwrap()
    }

    #[test]
    fn two_attempts_are_two_messages_with_one_signature_each() {
        let now = Time48::from_u64(1_700_000_000);
        let key = key();
        let sent = |id| sign(compose(&change(), id).unwrap(), &key, now).unwrap().0;
        let (first, second) = (sent(1), sent(2));
        assert_ne!(first[first.len() - 38..first.len() - 6], second[second.len() - 38..second.len() - 6]);
        assert_eq!(Message::from_slice(&first).unwrap().header_counts().arcount(), 1);
    }

    /// As BIND 9.18 answers to a request that was signed at 1 700 000 000 s, when its own clock said 1 795 234 053 s.
    const BADTIME: &str = "1234a809000100000000000107636f6d70616e79047465737400000600010e737769746368796172642d\
        6b65790000fa00ff0000000000430b686d61632d7368613235360000006553f100012c002041c45ce79803d91ad093eecf586aa03f\
        4085958852e1fd7ee005397f3f2a382812340012000600006b011905";

    #[test]
    fn the_clock_of_a_real_server_is_read() {
        let bytes: Vec<u8> = (0..BADTIME.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&BADTIME[at..at + 2], 16).unwrap())
            .collect();
        let now = Time48::from_u64(1_700_000_000);
        let key =
            Key::new(Algorithm::Sha256, b"secret", "switchyard-key".parse().unwrap(), None, None).unwrap();
        let (_, transaction) = sign(compose(&change(), 0x1234).unwrap(), &key, now).unwrap();
        let reply = read_reply(&transaction, 0x1234, bytes, now).unwrap();
        assert_eq!(reply.rcode, Rcode::NOTAUTH);
        assert_eq!(reply.tsig_error, Some((TsigRcode::BADTIME, Some(1_795_234_053))));
        assert!(reply.signature.is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let now = Time48::from_u64(1_700_000_000);
        let key = key();
        let (message, transaction) = sign(compose(&change(), 1).unwrap(), &key, now).unwrap();
        let mut answer = message;
        answer[2] |= 0x80;
        assert!(read_reply(&transaction, 1, answer.clone(), now).unwrap().signature.is_err());
        for at in 0..answer.len() {
            for byte in [0x00, 0x01, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = answer.clone();
                bytes[at] = byte;
                let _ = read_reply(&transaction, 1, bytes, now);
            }
            let _ = read_reply(&transaction, 1, answer[..at].to_vec(), now);
        }
    }
}
