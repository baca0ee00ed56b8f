//! What two reports of the same episode say together.

use crate::model::{Signal, SignalState};

/// What two reports of the same episode say together; both must have the same key.
///
/// The order of reports, and how often each came, makes no difference: *resolved* wins over *firing*, the first and the
/// last hearing and the end only widen, and the rest comes from the report heard last. `merge(a, a)` is what is stored
/// of a first report.
#[must_use]
pub fn merge(old: &Signal, new: &Signal) -> Signal {
    let latest = if content(old) < content(new) { new } else { old };
    Signal {
        state: old.state.max(new.state),
        ends_at: ended(old).max(ended(new)),
        first_seen: old.first_seen.min(new.first_seen),
        ..latest.clone()
    }
}

/// A firing alert carries no end, whatever the sender wrote there.
fn ended(signal: &Signal) -> Option<jiff::Timestamp> {
    signal.ends_at.filter(|_| signal.state == SignalState::Resolved)
}

/// Orders reports by when they were heard, and those heard at once by what they say, so that one of them is the last.
fn content(s: &Signal) -> impl Ord + '_ {
    (s.last_seen, s.action, &s.fleet, &s.cluster, &s.target, &s.labels, &s.annotations)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::{
        collection::{btree_map, vec},
        option,
        prelude::*,
    };

    use super::*;
    use crate::model::{Action, SignalKey};

    fn time() -> impl Strategy<Value = Timestamp> {
        (0..6_i64).prop_map(|s| Timestamp::from_second(1_700_000_000 + s).unwrap())
    }

    fn report() -> impl Strategy<Value = Signal> {
        (
            any::<bool>(),
            option::of(time()),
            time(),
            time(),
            btree_map("[ab]", "[xy]", 0..2),
            option::of(prop_oneof![Just("blue"), Just("green")]),
        )
            .prop_map(|(firing, ends_at, first_seen, last_seen, annotations, target)| Signal {
                key: SignalKey {
                    source: "alertmanager".into(),
                    fingerprint: "f".into(),
                    starts_at: Timestamp::UNIX_EPOCH,
                },
                action: Action::Failover,
                fleet: None,
                cluster: None,
                target: target.map(|t| t.parse().unwrap()),
                state: if firing { SignalState::Firing } else { SignalState::Resolved },
                ends_at,
                labels: [].into(),
                annotations,
                first_seen,
                last_seen,
            })
    }

    fn stored(reports: &[Signal]) -> Signal {
        let first = merge(&reports[0], &reports[0]);
        reports[1..].iter().fold(first, |old, new| merge(&old, new))
    }

    proptest! {
        #[test]
        fn order_and_repetition_of_reports_make_no_difference(
            (reports, shuffled) in vec(report(), 1..6).prop_flat_map(|reports| {
                let twice: Vec<Signal> = reports.iter().chain(&reports).cloned().collect();
                (Just(reports), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(stored(&reports), stored(&shuffled));
        }

        #[test]
        fn a_late_firing_never_reopens_an_episode(reports in vec(report(), 1..6)) {
            let end = stored(&reports);
            let resolved = reports.iter().any(|r| r.state == SignalState::Resolved);
            prop_assert_eq!(end.state == SignalState::Resolved, resolved);
            prop_assert!(resolved || end.ends_at.is_none());
            prop_assert_eq!(Some(end.first_seen), reports.iter().map(|r| r.first_seen).min());
            prop_assert_eq!(Some(end.last_seen), reports.iter().map(|r| r.last_seen).max());
        }
    }
}
