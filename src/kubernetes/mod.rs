//! What the tools in a cluster say of themselves, and what is to be thought of it. Pure: what watches the objects is
//! elsewhere.

mod backups;
mod cron;
mod destination;
mod history;
mod judge;
mod judgement;
mod kind;
mod list;
mod object;
mod parse;
mod reader;
mod snapshot;

pub use backups::{ScheduleBackups, Standing, location, schedule_backups};
pub use cron::Due;
pub use destination::{Destination, Destinations};
pub use history::{BUCKETS, Convergence, Durations, History, SourceKey, Vanished};
pub use judge::judge;
pub use judgement::{Judgement, Limits, Reason, Verdict};
pub use kind::{Kind, Tool};
pub use list::Found;
pub use object::{
    Application, Backup, Condition, Detail, Flux, Location, Object, Operation, Pod, Reference, Restore,
    Schedule,
};
pub use reader::Unreadable;
pub use snapshot::{KindState, Snapshot};
