//! Stories: what would happen if. A text timeline through the real loop, intake and store, on a simulated world with
//! virtual time. `docs/simulate.md` is the language; a story with `expect` lines is a test.

mod alerting;
mod deeds;
mod disk;
mod engine;
mod expect;
mod parse;
mod parts;
mod promises;
mod story;
mod tell;
mod transcript;
mod words;

pub use engine::{PlayError, play, play_with};
pub use parse::{parse, parse_with, vocabulary};
pub use parts::{Outside, Parts};
pub use promises::Broken;
pub use story::{
    AlertmanagerFault, Bulk, Claim, CrashAt, Deed, DnsFault, Event, Fate, GitlabFault, Happening, Part,
    Property, Signature, Start, Story, Who,
};
pub use transcript::{Entry, Kind, Report, Struck};
pub use words::{Problem, Problems};
