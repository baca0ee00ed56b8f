//! When schedules are due, as robfig/cron v3.0.1 says it: Velero asks its `ParseStandard`.

use std::fs;

use switchyard::{
    kubernetes::{Due, Reason},
    model::{SignedDuration, Timestamp},
};

use serde_json::json;

use crate::scene::{Scene, file, time};

/// Each line of the table is what that library itself answered: an expression, and `refused`, or the next three times after
/// each of these, with `never` for none. Berlin's clocks change a few hours after the second and the third.
const FROM: [&str; 3] = ["2026-11-21T03:00:00.5Z", "2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"];

#[test]
fn every_expression_is_read_as_velero_reads_it() {
    let table = fs::read_to_string(file("cron.tsv")).expect("the table is there");
    let mut read = 0;
    for (expression, wanted) in table.lines().map(|line| line.split_once('\t').expect("two columns")) {
        let found = Due::parse(expression).map(|due| {
            let next = |at: &Timestamp| due.after(*at);
            let times = FROM.map(|from| {
                let mut next: Vec<String> =
                    std::iter::successors(next(&time(from)), next).take(3).map(|t| t.to_string()).collect();
                if next.is_empty() {
                    next.push("never".to_owned());
                }
                next.join(" ")
            });
            times.join(" ")
        });
        match (wanted, found) {
            ("refused", found) => assert!(found.is_err(), "{expression:?}: {found:?}"),
            (wanted, found) => assert_eq!(found.as_deref(), Ok(wanted), "{expression:?}"),
        }
        read += 1;
    }
    assert_eq!(read, 141);
}

#[test]
fn intervals_are_the_longest_gap() {
    let interval = |text| Due::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).interval();
    for (text, hours) in [
        ("0 2 * * *", 24),
        ("@every 6h", 6),
        ("@daily", 24),
        ("@hourly", 1),
        ("*/90 * * * *", 1),
        ("0 2/24 * * *", 24),
        ("@weekly", 168),
        ("@monthly", 31 * 24),
        ("@yearly", 366 * 24),
        ("0 0 29 2 *", 1461 * 24),
        ("0 2 * * 1-5", 72),
        ("*/30 8-18 * * *", 13),
        ("CRON_TZ=Europe/Berlin 0 2 * * *", 24),
        ("TZ=Europe/Berlin 0 2 * * 0", 168),
        ("0 2 ? * 0", 168),
        // Days of the month, the longest month and the shortest February among them.
        ("30 1 2-31 * *", 48),
        ("0 2 1-10 * *", 22 * 24),
        ("0 2 1-15 * *", 17 * 24),
        ("0 2 16-31 * *", 16 * 24),
        ("0 2 29 * *", 59 * 24),
        ("0 2 31 * *", 61 * 24),
        ("0 2 */2 * *", 48),
        ("0 2,8 1-15 * *", 16 * 24 + 18),
        // Months, over the end of the year, and with weekdays.
        ("0 2 * 1-6 *", 185 * 24),
        ("0 2 * 1-6 1", 196 * 24),
        ("0 2 1 2 *", 366 * 24),
        ("0 2 1,15 * 1", 168),
        ("CRON_TZ=Europe/Berlin 0 2 1-15 * *", 17 * 24),
    ] {
        assert_eq!(interval(text).map(|i| i.as_hours()), Some(hours), "{text}");
    }
    assert_eq!(interval("@every 1h30m"), Some(SignedDuration::from_mins(90)));
    assert_eq!(interval("*/15 * * * *"), Some(SignedDuration::from_mins(15)));
    assert_eq!(interval("* * * * *"), Some(SignedDuration::from_mins(1)));
    assert_eq!(interval("0 0 30 2 *"), None);
    assert_eq!(interval(", * * * *"), None);
}

#[test]
fn a_schedule_for_a_day_that_never_comes_never_runs() {
    let scene = Scene::of("velero.json");
    let after = |cron: &str| scene.after("Schedule/daily", &[("/spec/schedule", json!(cron))]);
    assert_eq!(after("0 0 30 2 *"), Reason::NeverRan);
    assert_eq!(after("0 2 * * 7"), Reason::Unreadable, "Velero refuses it, too");
    assert_eq!(after("0 2/24 * * *"), Reason::Ok);
}

#[test]
fn nothing_is_due_after_the_end_of_time() {
    let end = Timestamp::MAX;
    for text in ["0 2 * * *", "CRON_TZ=Asia/Tokyo * * * * *", "@every 1h"] {
        assert_eq!(Due::parse(text).expect("a schedule").after(end), None, "{text}");
    }
    let scene = Scene::of("velero.json");
    for field in ["lastBackup", "lastSkipped"] {
        let pointer = format!("/status/{field}");
        let end = json!("9999-12-30T22:00:00Z");
        assert_eq!(scene.after("Schedule/daily", &[(&pointer, end)]), Reason::InTheFuture, "{field}");
    }
}
