//! What happened in a story, as text and as JSON. The text is stable: the same story gives the same bytes.

use std::fmt;

use serde::Serialize;

use super::promises::Broken;
use crate::model::{FleetName, SignedDuration};

/// What an entry speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The story says that it happens.
    Event,
    /// An alert fires or ends in Alertmanager.
    Alert,
    /// Switchyard decided.
    Decision,
    /// Switchyard says what it came to.
    Outcome,
    /// Switchyard took a step.
    Step,
    /// Switchyard answered a person.
    Answer,
    /// Switchyard's process.
    Process,
    /// An expectation was met.
    Met,
    /// An expectation was not met.
    Unmet,
    /// A promise was broken.
    Broken,
}

impl Kind {
    fn sign(self) -> &'static str {
        match self {
            Self::Event => ">",
            Self::Alert => "!",
            Self::Decision => "=",
            Self::Outcome => " ",
            Self::Step => "+",
            Self::Answer => "<",
            Self::Process => "*",
            Self::Met => "ok",
            Self::Unmet => "NOT",
            Self::Broken => "BROKEN",
        }
    }
}

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Since the beginning.
    #[serde(serialize_with = "clock")]
    pub at: SignedDuration,
    /// What it speaks about.
    pub kind: Kind,
    /// The fleet, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetName>,
    /// The sentence.
    pub text: String,
    /// How often the same step came to the same again, until something else happened, and when last.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "repeated")]
    pub again: Option<(u32, SignedDuration)>,
}

fn shown(at: SignedDuration) -> String {
    let millis = at.as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{:01}", seconds / 3600, seconds / 60 % 60, seconds % 60, millis / 100)
}

fn repeated<S: serde::Serializer>(
    again: &Option<(u32, SignedDuration)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    again.map(|(times, last)| (times, shown(last))).serialize(serializer)
}

fn clock<S: serde::Serializer>(at: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(*at))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:<2} {}", shown(self.at), self.kind.sign(), self.text)?;
        match self.again {
            None => Ok(()),
            Some((1, last)) => write!(f, " (and once more at {})", shown(last)),
            Some((times, last)) => write!(f, " (and {times} times more until {})", shown(last)),
        }
    }
}

/// Where a crash struck, for coverage: the phase of the step, or what the loop had just written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Struck(pub String);

/// What came of a story.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// Expectations that were met.
    pub met: usize,
    /// Expectations that were not.
    pub unmet: usize,
    /// Promises that were broken.
    #[serde(serialize_with = "sentences")]
    pub broken: Vec<Broken>,
    /// Where crashes struck.
    #[serde(skip)]
    pub struck: Vec<Struck>,
    /// How many passes the loop took.
    pub passes: u64,
}

fn sentences<S: serde::Serializer>(broken: &[Broken], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(broken.iter().map(ToString::to_string))
}

impl Report {
    /// Adds what may happen many times, or counts it when it comes to the same as one since the last thing of another kind.
    pub(super) fn repeated(&mut self, entry: Entry) {
        let same = self
            .entries
            .iter_mut()
            .rev()
            .take_while(|before| before.kind == entry.kind)
            .find(|before| before.text == entry.text && before.fleet == entry.fleet);
        match same {
            None => self.entries.push(entry),
            Some(before) => {
                let times = before.again.map_or(0, |(times, _)| times);
                before.again = Some((times + 1, entry.at));
            }
        }
    }

    /// Every expectation was met and every promise kept.
    pub fn is_good(&self) -> bool {
        self.unmet == 0 && self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        let Self { met, unmet, broken, .. } = self;
        writeln!(
            f,
            "{} of {} expectations met, {} promises broken",
            met,
            met + unmet,
            if broken.is_empty() { "no".to_owned() } else { broken.len().to_string() }
        )
    }
}
