//! The times at which a fleet may be moved: weekly, in a time zone.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Serialize, Serializer};

use super::MoveKind;

/// How far ahead it is looked for the next opening, in days: every weekly time comes within.
const AHEAD: i32 = 9;
const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// The times at which a fleet may be moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// Each of them.
    pub times: Vec<WeeklyTime>,
    /// The time zone that they are meant in.
    #[serde(serialize_with = "zone_name")]
    pub time_zone: TimeZone,
    /// The kinds of moves that wait for it.
    pub applies_to: BTreeSet<MoveKind>,
}

fn zone_name<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.iana_name().unwrap_or("UTC"))
}

/// Whether the window is open, and how long that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// Until then; none when it does not close within a week.
    Open(Option<Timestamp>),
    /// Until then; none when it does not open within a week.
    Closed(Option<Timestamp>),
}

impl Window {
    /// Whether it is open at `now`.
    ///
    /// A time that the clocks skip begins or ends as much later as they skip; of a time that comes twice the first one
    /// counts. A time that is over before it begins, because the clocks skip it, does not come on that day.
    pub fn at(&self, now: Timestamp) -> WindowState {
        let merged = self.spans(now, -1);
        let week = now.checked_add(jiff::SignedDuration::from_hours(24 * 7)).unwrap_or(Timestamp::MAX);
        let within = |at: Timestamp| (at <= week).then_some(at);
        match merged.into_iter().find(|(_, end)| *end > now) {
            Some((start, end)) if start <= now => WindowState::Open(within(end)),
            Some((start, _)) => WindowState::Closed(within(start)),
            None => WindowState::Closed(None),
        }
    }

    /// When it opened, or when it opens next if it is closed; none when it has been open for longer than a week, or does
    /// not open within one.
    pub fn opened(&self, now: Timestamp) -> Option<Timestamp> {
        let (start, _) = self.spans(now, -AHEAD).into_iter().find(|(_, end)| *end > now)?;
        (start.duration_since(now).abs() <= jiff::SignedDuration::from_hours(24 * 7)).then_some(start)
    }

    /// The times from that day on, counted from today, without overlap.
    fn spans(&self, now: Timestamp, first: i32) -> Vec<(Timestamp, Timestamp)> {
        let today = now.to_zoned(self.time_zone.clone()).date();
        let mut spans: Vec<(Timestamp, Timestamp)> = (first..=AHEAD)
            .filter_map(|day| today.checked_add(i64::from(day).days()).ok())
            .flat_map(|date| self.times.iter().filter_map(move |time| time.span(date, &self.time_zone)))
            .collect();
        spans.sort_unstable();
        let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (start, end) in spans {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }

    /// A moment on the window's own clock, for people.
    pub fn local(&self, at: Timestamp) -> String {
        at.to_zoned(self.time_zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times: Vec<&str> = self.times.iter().map(|time| time.source.as_str()).collect();
        write!(f, "{} {}", times.join("; "), self.time_zone.iana_name().unwrap_or("UTC"))
    }
}

/// A time that comes on some days of the week, such as `Mon-Fri 22:00-05:00`. When it ends before it begins, it ends on
/// the next day; the day is the one on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeeklyTime {
    source: String,
    days: Vec<Weekday>,
    /// Minutes since midnight.
    start: u16,
    end: u16,
}

impl Serialize for WeeklyTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl WeeklyTime {
    fn span(&self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let at = |minutes: u16| {
            let date = date.checked_add(i64::from(minutes / MINUTES_OF_A_DAY).days()).ok()?;
            let minutes = minutes % MINUTES_OF_A_DAY;
            let hour = i8::try_from(minutes / 60).ok()?;
            let minute = i8::try_from(minutes % 60).ok()?;
            zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0)).compatible().ok()
        };
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let end = if self.end > self.start { self.end } else { self.end + MINUTES_OF_A_DAY };
        let (start, end) = (at(self.start)?, at(end)?);
        (start < end).then_some((start, end))
    }
}

impl FromStr for WeeklyTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (days, times) = text.split_once(' ').ok_or("it needs days and times")?;
        let (start, end) = times.trim().split_once('-').ok_or("the times need a begin and an end")?;
        let (start, end) = (minutes(start)?, minutes(end)?);
        if start == MINUTES_OF_A_DAY {
            return Err("24:00 can only be an end; begin at 00:00 of the next day".to_owned());
        }
        if start == end {
            return Err("it ends when it begins; a whole day is 00:00-24:00".to_owned());
        }
        Ok(Self { source: text.to_owned(), days: weekdays(days)?, start, end })
    }
}

fn minutes(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is not a time of day such as 22:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| (digits.len() == 2).then(|| digits.parse::<u16>().ok()).flatten();
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    let minutes = hour * 60 + minute;
    if minute < 60 && minutes <= MINUTES_OF_A_DAY { Ok(minutes) } else { Err(wrong()) }
}

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

fn weekdays(text: &str) -> Result<Vec<Weekday>, String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(WEEK.iter().map(|(_, day)| *day).collect());
    }
    let number = |name: &str| {
        let found = WEEK.iter().position(|(word, _)| word.eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("{name:?} is no day: use Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily"))
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        let count = (last + WEEK.len() - first) % WEEK.len();
        days.extend((first..=first + count).map(|day| WEEK[day % WEEK.len()].1));
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(times: &[&str], zone: &str) -> Window {
        Window {
            times: times.iter().map(|text| text.parse().unwrap()).collect(),
            time_zone: TimeZone::get(zone).unwrap(),
            applies_to: BTreeSet::from([MoveKind::Failback]),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_opens_and_closes_on_its_own_clock() {
        let nights = window(&["Mon-Fri 22:00-05:00", "Sat 00:00-24:00", "Sun 00:00-24:00"], "Europe/Berlin");
        // Wednesday, winter time: 22:00 in Berlin is 21:00 in UTC.
        let opens = at("2026-01-14T21:00:00Z");
        assert_eq!(nights.at(at("2026-01-14T20:59:59Z")), WindowState::Closed(Some(opens)));
        assert_eq!(nights.at(opens), WindowState::Open(Some(at("2026-01-15T04:00:00Z"))));
        assert_eq!(
            nights.at(at("2026-01-15T04:00:00Z")),
            WindowState::Closed(Some(at("2026-01-15T21:00:00Z")))
        );
        // Friday night runs into the weekend, which ends when Monday begins.
        assert_eq!(
            nights.at(at("2026-01-16T21:30:00Z")),
            WindowState::Open(Some(at("2026-01-18T23:00:00Z")))
        );
        assert_eq!(nights.local(opens), "Wed 2026-01-14 22:00 CET");
        assert_eq!(nights.to_string(), "Mon-Fri 22:00-05:00; Sat 00:00-24:00; Sun 00:00-24:00 Europe/Berlin");
    }

    #[test]
    fn a_window_says_when_it_opened_or_opens() {
        let nights = window(&["Mon-Fri 22:00-05:00", "Sat 00:00-24:00", "Sun 00:00-24:00"], "UTC");
        for (now, opened) in [
            ("2026-01-14T21:59:59Z", Some("2026-01-14T22:00:00Z")),
            ("2026-01-14T22:00:00Z", Some("2026-01-14T22:00:00Z")),
            ("2026-01-15T04:59:59Z", Some("2026-01-14T22:00:00Z")),
            // The weekend begins with Friday night.
            ("2026-01-18T23:00:00Z", Some("2026-01-16T22:00:00Z")),
        ] {
            assert_eq!(nights.opened(at(now)), opened.map(at), "{now}");
        }
        let always = window(&["daily 00:00-24:00"], "UTC");
        assert_eq!(always.opened(at("2026-01-14T12:00:00Z")), None, "it has always been open");
    }

    #[test]
    fn the_clocks_go_forward_and_back() {
        // On 2026-03-29 the clocks of Berlin go from 02:00 to 03:00, on 2026-10-25 from 03:00 back to 02:00.
        let early = window(&["Sun 01:00-04:00"], "Europe/Berlin");
        let whole =
            |from: &str, to: &str| (WindowState::Closed(Some(at(from))), WindowState::Open(Some(at(to))));
        let seen = |w: &Window, before: &str, inside: &str| (w.at(at(before)), w.at(at(inside)));
        assert_eq!(
            seen(&early, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            whole("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
            "two hours long"
        );
        assert_eq!(
            seen(&early, "2026-10-24T12:00:00Z", "2026-10-25T02:30:00Z"),
            whole("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
            "four hours long"
        );
        let skipped = window(&["daily 02:00-02:30"], "Europe/Berlin");
        assert_eq!(
            seen(&skipped, "2026-03-28T12:00:00Z", "2026-03-29T01:15:00Z"),
            whole("2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"),
            "as much later as the clocks skip"
        );
        let over = window(&["Sun 02:30-03:00"], "Europe/Berlin");
        assert_eq!(
            over.at(at("2026-03-28T12:00:00Z")),
            WindowState::Closed(None),
            "it would be over before it begins: not on that day"
        );
        assert_eq!(
            over.at(at("2026-03-29T12:00:00Z")),
            WindowState::Closed(Some(at("2026-04-05T00:30:00Z")))
        );
        let twice = window(&["Sun 02:00-02:30"], "Europe/Berlin");
        assert_eq!(twice.at(at("2026-10-25T00:15:00Z")), WindowState::Open(Some(at("2026-10-25T00:30:00Z"))));
        let next = Some(at("2026-11-01T01:00:00Z"));
        assert_eq!(twice.at(at("2026-10-25T01:15:00Z")), WindowState::Closed(next), "the first one counts");
        // Other clocks change on other days: New York on 2026-11-01.
        let west = window(&["daily 20:00-21:00"], "America/New_York");
        assert_eq!(west.at(at("2026-11-01T00:30:00Z")), WindowState::Open(Some(at("2026-11-01T01:00:00Z"))));
        assert_eq!(
            west.at(at("2026-11-01T12:00:00Z")),
            WindowState::Closed(Some(at("2026-11-02T01:00:00Z")))
        );
    }

    #[test]
    fn always_open_never_closes() {
        assert_eq!(
            window(&["daily 00:00-24:00"], "UTC").at(at("2026-01-14T12:00:00Z")),
            WindowState::Open(None)
        );
    }

    #[test]
    fn what_is_no_time_is_told() {
        for (text, wrong) in [
            ("Mon", "days and times"),
            ("Mon 22:00", "a begin and an end"),
            ("Mon 22-23", "not a time of day"),
            ("Mon 22:60-23:00", "not a time of day"),
            ("Mon 24:30-01:00", "not a time of day"),
            ("Mon 24:00-01:00", "can only be an end"),
            ("Mon 08:00-08:00", "ends when it begins"),
            ("Moon 08:00-09:00", "is no day"),
        ] {
            let said = text.parse::<WeeklyTime>().unwrap_err();
            assert!(said.contains(wrong), "{text}: {said}");
        }
        let days = "Fri-Mon,Wed 08:00-09:00".parse::<WeeklyTime>().unwrap().days;
        assert_eq!(days.len(), 5, "{days:?}");
    }
}
