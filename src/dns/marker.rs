//! The owner marker: a TXT record at `_failover-owner.<name>` that says who may change the name.
//!
//! `v=1;owner=switchyard;fleet=rnd;gen=7;op=0123456789abcdef;prev=30 CNAME ingress.blue.company.test.`

use std::fmt::Write as _;

use crate::model::{Fence, FleetName, Generation, Marker, RecordSet, RecordType};

/// The label below the managed name. A TXT record cannot stand beside a CNAME.
pub(super) const LABEL: &str = "_failover-owner";

/// A character string of a TXT record holds no more.
const MAX_BYTES: usize = 254;

/// A marker taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) owner: String,
    pub(super) fleet: FleetName,
    pub(super) generation: Generation,
}

/// Whether an owner id can be written into a marker.
pub(super) fn valid_owner(owner: &str) -> bool {
    !owner.is_empty() && owner.len() <= 63 && owner.bytes().all(|b| b.is_ascii_graphic() && b != b';')
}

/// The text for a write. `previous` documents what was there; it is cut when it does not fit.
pub(super) fn format(
    owner: &str,
    fence: &Fence,
    op: &str,
    record_type: RecordType,
    previous: Option<&RecordSet>,
) -> String {
    let mut text = format!("v=1;owner={owner};fleet={};gen={};op={op};prev=", fence.fleet, fence.generation);
    match previous {
        None => text.push_str("none"),
        Some(set) => {
            let values: Vec<&str> = set.values.iter().map(String::as_str).collect();
            let _ = write!(text, "{} {record_type} {}", set.ttl, values.join(" "));
        }
    }
    if text.len() > MAX_BYTES {
        // Values are ASCII, as names in their presentation form are.
        text.truncate(MAX_BYTES - 3);
        text.push_str("...");
    }
    text
}

/// Takes a text apart; none for a text of another form.
pub(super) fn parse(text: &str) -> Option<Parsed> {
    let mut fields = text.splitn(6, ';');
    let mut field = |key: &str| fields.next()?.strip_prefix(key)?.strip_prefix('=');
    if field("v")? != "1" {
        return None;
    }
    let owner = field("owner")?;
    let fleet = field("fleet")?.parse().ok()?;
    let generation = field("gen")?;
    let op = field("op")?;
    let previous = field("prev")?;
    let plain = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !valid_owner(owner) || op.is_empty() || !plain(op) || !plain(previous) {
        return None;
    }
    if generation.is_empty() || !generation.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Parsed { owner: owner.to_owned(), fleet, generation: Generation(generation.parse().ok()?) })
}

/// The marker as the model has it; none for a text of another form.
pub fn read(text: &[u8]) -> Option<Marker> {
    let text = std::str::from_utf8(text).ok()?;
    let parsed = parse(text)?;
    Some(Marker { owner: parsed.owner, generation: parsed.generation, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn fence() -> Fence {
        Fence::new("rnd".parse().unwrap(), Generation(7))
    }

    fn set(values: &[&str]) -> RecordSet {
        RecordSet { ttl: 30, values: values.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>() }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let previous = set(&["ingress.blue.company.test."]);
        let text = format("switchyard", &fence(), "0123", RecordType::Cname, Some(&previous));
        assert_eq!(
            text,
            "v=1;owner=switchyard;fleet=rnd;gen=7;op=0123;prev=30 CNAME ingress.blue.company.test."
        );
        let marker = read(text.as_bytes()).unwrap();
        assert_eq!((marker.owner.as_str(), marker.generation), ("switchyard", Generation(7)));
        assert_eq!(marker.text, text);
        let absent = format("switchyard", &fence(), "0123", RecordType::A, None);
        assert!(absent.ends_with(";prev=none"), "{absent}");
    }

    #[test]
    fn other_forms_are_not_markers() {
        for text in [
            "",
            "owned by alice",
            "heritage=external-dns,external-dns/owner=blue",
            "v=2;owner=a;fleet=rnd;gen=1;op=1;prev=none",
            "v=1;owner=a;fleet=rnd;gen=+1;op=1;prev=none",
            "v=1;owner=a;fleet=rnd;gen=99999999999999999999;op=1;prev=none",
            "v=1;owner=;fleet=rnd;gen=1;op=1;prev=none",
            "v=1;owner=a;fleet=RND;gen=1;op=1;prev=none",
            "v=1;owner=a;fleet=rnd;gen=1;op=1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_marker_fits_into_one_character_string() {
        let fence = Fence::new("f".repeat(63).parse().unwrap(), Generation(u64::MAX));
        let many = set(&["2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:7", "2001:db8:1:2:3:4:5:8"]);
        let text = format(&"o".repeat(63), &fence, &"f".repeat(16), RecordType::Aaaa, Some(&many));
        assert_eq!(text.len(), MAX_BYTES);
        assert_eq!(parse(&text).unwrap().generation, Generation(u64::MAX));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<Vec<u8>>()) {
            let _ = read(&text);
        }

        #[test]
        fn no_text_in_the_right_form_makes_the_parser_panic(owner in ".{0,70}", generation in ".{0,25}") {
            let _ = parse(&format!("v=1;owner={owner};fleet=rnd;gen={generation};op=1;prev=none"));
        }
    }
}
