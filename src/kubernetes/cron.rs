//! When a Velero schedule is due: what robfig/cron v3 makes of it by `ParseStandard`, which Velero calls. Its oddities count:
//! `*/90` is the first minute of each hour, `*/2` is no star where days of month and week are joined, and a schedule in the
//! hour that a clock skips does not run.

use jiff::{
    SignedDuration, Timestamp, ToSpan as _, Zoned,
    civil::{Date, date},
    tz::TimeZone,
};

use super::reader::duration;

/// When something is due.
#[derive(Debug, Clone)]
pub enum Due {
    /// So long after the last time.
    Every(SignedDuration),
    /// By the clock.
    Cron(Box<Calendar>),
}

/// The times of a cron expression; a bit for each value that is wanted.
#[derive(Debug, Clone)]
pub struct Calendar {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    zone: TimeZone,
}

/// Names of months and weekdays.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// A star was written.
const STAR: u64 = 1 << 63;
/// What is not due within so many years is never due.
const YEARS: i16 = 5;
/// Days after which weekdays have come again, and after which days of months and leap years have, on every weekday.
const WEEKS: usize = 15;
const DAYS: usize = 28 * 365 + 7 + 366;
/// Of a day.
const MINUTES: i64 = 24 * 60;

impl Due {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let zoned = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
        let (zone, text) = match zoned {
            Some(rest) => rest.split_once(' ').ok_or("nothing follows the time zone")?,
            None => ("", text),
        };
        let text = if zoned.is_some() { text.trim() } else { text };
        let zone = match zone {
            // A Velero server's own zone; its image sets none.
            "" | "Local" | "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|error| error.to_string())?,
        };
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => {
                let every = text.strip_prefix("@every ").and_then(duration);
                let every = every
                    .ok_or_else(|| format!("{text:?} is neither @daily nor @every 6h nor their like"))?;
                // Whole seconds, and one at least.
                return Ok(Self::Every(SignedDuration::from_secs(every.as_secs().max(1))));
            }
            other => other,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("{text:?} has not five fields"));
        };
        Ok(Self::Cron(Box::new(Calendar {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, &MONTHS)?,
            weekday: field(weekday, 0, 6, &WEEKDAYS)?,
            zone,
        })))
    }

    /// The longest time from one run to the next, so that a schedule of working days is not late on Mondays, nor one of some
    /// days of each month on the others; none when it is never due. Changes of the clocks are left out.
    pub fn interval(&self) -> Option<SignedDuration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Cron(calendar) => calendar.longest_gap(),
        }
    }

    /// The first time it is due after `time`; none when never.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(time.as_second()).ok()?;
        match self {
            Self::Every(interval) => whole.checked_add(*interval).ok(),
            Self::Cron(calendar) => calendar.next(whole),
        }
    }
}

/// Ranges, joined by commas.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges.map(|text| range(text, least, most, names)).try_fold(0, |bits, range| Ok(bits | range?))
}

/// `5`, `1-5`, `*`, each with or without a step: `5/10` goes to the end, and a step beyond it leaves the first.
fn range(text: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let wrong = |why: &str| format!("{text:?} {why}");
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong("is not a number or a range of numbers"));
    let value = |text: &str| match names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
        Some(index) => Ok(least + index as u32),
        None => number(text),
    };
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, Some(number(step)?)),
        None => (text, None),
    };
    let bounds: Vec<&str> = span.split('-').collect();
    let (first, last, star) = match bounds.as_slice() {
        ["*" | "?", ..] => (least, most, STAR),
        // With a step it goes on from there.
        [only] => (value(only)?, if step.is_some() { most } else { value(only)? }, 0),
        [first, last] => (value(first)?, value(last)?, 0),
        _ => return Err(wrong("has too many hyphens")),
    };
    if first < least || last > most || first > last {
        return Err(wrong(&format!("is not within {least}-{most}, in this order")));
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(wrong("has no step"));
    }
    let star = if step == 1 { star } else { 0 };
    Ok((first..=last).step_by(step as usize).fold(star, |bits, value| bits | 1 << value))
}

fn has(bits: u64, value: i8) -> bool {
    bits & 1 << value != 0
}

impl Calendar {
    /// From field to field: what does not fit goes to the beginning of the next one, and all is looked at again.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let soonest = after.checked_add(SignedDuration::from_secs(1)).ok()?;
        let mut at: Zoned = soonest.to_zoned(self.zone.clone());
        let last_year = at.year() + YEARS;
        let seconds = |seconds: i8| SignedDuration::from_secs(seconds.into());
        let minutes = |minutes: i8| SignedDuration::from_mins(minutes.into());
        while at.year() <= last_year {
            at = if !has(self.month, at.month()) {
                let month_end = at.last_of_month().ok()?;
                month_end.tomorrow().ok()?.start_of_day().ok()?
            } else if !self.has_day(at.date()) {
                at.tomorrow().ok()?.start_of_day().ok()?
            } else if !has(self.hour, at.hour()) {
                at.checked_add(minutes(60 - at.minute()) - seconds(at.second())).ok()?
            } else if at.second() != 0 {
                at.checked_add(seconds(60 - at.second())).ok()?
            } else {
                match (self.minute & !STAR) >> at.minute() {
                    0 => at.checked_add(minutes(60 - at.minute())).ok()?,
                    ahead if ahead & 1 != 0 => return Some(at.timestamp()),
                    ahead => at.checked_add(minutes(ahead.trailing_zeros() as i8)).ok()?,
                }
            };
        }
        None
    }

    fn has_day(&self, at: Date) -> bool {
        let day = has(self.day, at.day());
        let weekday = has(self.weekday, at.weekday().to_sunday_zero_offset());
        if (self.day | self.weekday) & STAR != 0 { day && weekday } else { day || weekday }
    }

    /// By a clock that nobody changes: from run to run of a day, and from the last one of a day to the first one of the next.
    fn longest_gap(&self) -> Option<SignedDuration> {
        let hours = (0..24).filter(|hour| has(self.hour, *hour));
        let minutes = |hour: i8| (0..60).filter(|m| has(self.minute, *m)).map(move |m| (hour, m));
        let runs: Vec<i64> = hours.flat_map(minutes).map(|(h, m)| i64::from(h) * 60 + i64::from(m)).collect();
        let (first, last) = (runs.first()?, runs.last()?);
        let within = runs.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);

        let all = if self.day & self.month & STAR != 0 { WEEKS } else { DAYS };
        let start = date(2024, 1, 1);
        let days = start.series(1.day()).take(all).zip(0_i64..);
        let mut days = days.filter(|(day, _)| has(self.month, day.month()) && self.has_day(*day));
        let (_, mut before) = days.next()?;
        let mut apart = 0;
        for (_, day) in days {
            apart = apart.max(day - before);
            before = day;
        }
        let between = apart * MINUTES + first - last;
        (apart > 0).then(|| SignedDuration::from_mins(between.max(within)))
    }
}
