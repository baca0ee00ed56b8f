//! The one clock that leases and ages are measured with.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{BootTime, Moment, Timestamp};

/// Now. Unlike the process's monotonic clock it goes on while the machine sleeps, and unlike the wall clock it cannot
/// be set: what it says does not depend on the time of day.
pub fn boot_time() -> BootTime {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    BootTime::new(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default()))
}

/// Now, with the time of day that `wall` tells.
pub fn moment(wall: fn() -> Timestamp) -> Moment {
    Moment { wall: wall(), boot: boot_time() }
}

/// How long until a deadline; nothing when it has passed.
pub fn time_left(deadline: BootTime) -> Duration {
    deadline.since(boot_time())
}

/// Whether a deadline has passed. None never passes.
pub fn passed(deadline: Option<BootTime>) -> bool {
    deadline.is_some_and(|deadline| boot_time() >= deadline)
}
