//! When a Velero schedule is due, by the syntax that Velero takes: five fields, `@daily` and its like, `@every 6h`,
//! and a time zone in front as `CRON_TZ=` or `TZ=`.

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::{SignedDuration, Timestamp};

use super::reader::duration;

/// When something is due.
#[derive(Debug, Clone)]
pub enum Due {
    /// So long after the last time.
    Every(SignedDuration),
    /// By the clock.
    Cron(Box<Crontab>),
}

/// Weekly patterns repeat within it, and a few gaps more are looked at for what is rarer.
const HORIZON: SignedDuration = SignedDuration::from_hours(8 * 24);
const GAPS: usize = 4;

impl Due {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (zone, text) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            Some(rest) => rest.split_once(' ').ok_or("nothing follows the time zone")?,
            None => ("UTC", text),
        };
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            let interval = duration(every.trim())
                .filter(|d| d.is_positive())
                .ok_or_else(|| format!("{every:?} is not a duration such as 6h"))?;
            return Ok(Self::Every(interval));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<String> = fields.split_whitespace().enumerate().map(|(i, f)| field(i, f)).collect();
        if fields.len() != 5 {
            return Err(format!("{text:?} has not five fields"));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let cron = cronexpr::parse_crontab_with(&format!("{} {zone}", fields.join(" ")), options)
            .map_err(|e| e.to_string())?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The longest time from one run to the next, so that a schedule of working days is not late on Mondays; none
    /// when it is due less than twice in the years that are searched.
    pub fn interval(&self) -> Option<SignedDuration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Cron(cron) => longest_gap(cron),
        }
    }

    /// The first time it is due after `time`.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => time.checked_add(*interval).ok(),
            Self::Cron(cron) => next(cron, time),
        }
    }
}

/// Velero reads `?` as `*`, and does not take `*/2` for a star when it joins day of month and day of week.
fn field(index: usize, text: &str) -> String {
    let stepped = text.strip_prefix("*/").filter(|step| *step != "1");
    match (index, stepped) {
        (2, Some(step)) => format!("1-31/{step}"),
        (4, Some(step)) => format!("0-6/{step}"),
        _ if text == "?" => "*".to_owned(),
        _ => text.to_owned(),
    }
}

fn next(cron: &Crontab, after: Timestamp) -> Option<Timestamp> {
    cron.find_next(cronexpr::MakeTimestamp(after)).ok().map(|zoned| zoned.timestamp())
}

fn longest_gap(cron: &Crontab) -> Option<SignedDuration> {
    // Any fixed time does; a leap year has every day.
    let start = Timestamp::from_second(1_704_067_200).ok()?;
    let mut last = next(cron, start)?;
    let end = last.checked_add(HORIZON).ok()?;
    let mut longest = SignedDuration::ZERO;
    let mut gaps = 0;
    while gaps < GAPS || last < end {
        // What is due once in years has no next within the search.
        let Some(then) = next(cron, last) else { break };
        longest = longest.max(then.duration_since(last));
        (last, gaps) = (then, gaps + 1);
    }
    (gaps > 0).then_some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> i64 {
        Due::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).interval().unwrap().as_hours()
    }

    #[test]
    fn intervals_are_the_longest_gap() {
        for (text, wanted) in [
            ("0 2 * * *", 24),
            ("@every 6h", 6),
            ("@every 1h30m", 1),
            ("@daily", 24),
            ("@midnight", 24),
            ("@hourly", 1),
            ("@weekly", 168),
            ("@monthly", 31 * 24),
            ("@yearly", 366 * 24),
            ("0 2 * * 1-5", 72),
            ("*/30 8-18 * * *", 13),
            ("CRON_TZ=Europe/Berlin 0 2 * * *", 24),
            ("TZ=Europe/Berlin 0 2 * * 0", 168),
            ("0 2 ? * 0", 168),
        ] {
            assert_eq!(hours(text), wanted, "{text}");
        }
        assert_eq!(Due::parse("*/15 * * * *").unwrap().interval(), Some(SignedDuration::from_mins(15)));
    }

    #[test]
    fn the_time_zone_counts() {
        let at: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let next = |text| Due::parse(text).unwrap().after(at).unwrap().to_string();
        assert_eq!(next("0 2 * * *"), "2026-11-21T02:00:00Z");
        assert_eq!(next("CRON_TZ=America/New_York 0 2 * * *"), "2026-11-21T07:00:00Z");
        assert_eq!(next("@every 6h"), "2026-11-21T06:00:00Z");
        // The 21st is a Saturday. Both restricted: either will do.
        assert_eq!(next("0 2 1 * 0"), "2026-11-22T02:00:00Z");
        assert_eq!(next("0 2 */2 * 1"), "2026-11-21T02:00:00Z");
        assert_eq!(next("0 2 * * 1"), "2026-11-23T02:00:00Z");
    }

    #[test]
    fn what_cannot_be_due_is_refused() {
        for text in [
            "",
            "every day",
            "61 * * * *",
            "@every soon",
            "@every 0s",
            "0 2 * *",
            "CRON_TZ=Mars/Base 0 2 * * *",
        ] {
            assert!(Due::parse(text).is_err(), "{text}");
        }
    }
}
