//! One look at a gitlab-runner's metrics page, as far as the runner's state shows in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// What the page said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// `gitlab_runner_process_state_info`: `starting`, `running`, or a way to shut down. Absent before 19.1.
    pub state: Option<String>,
    /// When the process started.
    pub started: Option<Timestamp>,
    /// How many jobs the process may run at once.
    pub concurrent: Option<f64>,
    /// Per `[[runners]]` section, by the label `runner`: the start of its token. Also those that were taken out of the
    /// configuration: see [`Reading::configured`].
    pub sections: BTreeMap<String, Section>,
}

/// One `[[runners]]` section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Section {
    /// Finished `request_job` calls, by HTTP status; `-1` when there was no answer.
    pub requests: BTreeMap<String, f64>,
    /// How often the section was given a worker. Absent before 15.11.
    pub feeds: Option<f64>,
    /// How often it was not, because it sleeps after three refusals. Absent before 15.11.
    pub feed_failures: Option<f64>,
    /// Jobs that run.
    pub jobs: f64,
    /// How many jobs it may run at once; 0: no limit of its own. Absent of a section that is configured no more.
    pub limit: Option<f64>,
    /// Requests for a job that wait for an answer.
    pub in_flight: f64,
    /// How often a request was not made because one waits already.
    pub exceeded: Option<f64>,
}

/// Why a page is not one of a gitlab-runner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A line that is no sample.
    #[error("line {0} is not in Prometheus' text format")]
    Line(usize),
    /// The last line has no end.
    #[error("the page breaks off in its last line")]
    BrokenOff,
    /// Something else answers there.
    #[error("no series of a gitlab-runner: is this its listen_address?")]
    Foreign,
}

impl Reading {
    /// Reads the classic text format.
    ///
    /// # Errors
    /// When it is something else, or of something else than a gitlab-runner.
    pub fn parse(page: &str) -> Result<Self, Unreadable> {
        let mut reading = Self::default();
        let mut ours = false;
        for (number, line) in (1..).zip(page.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = Sample::parse(line).ok_or(Unreadable::Line(number))?;
            ours |= sample.name.starts_with("gitlab_runner_");
            reading.take(&sample);
        }
        // Of a number that was cut off, the rest would look like another one.
        match (ours, page.ends_with('\n')) {
            (false, _) => Err(Unreadable::Foreign),
            (true, false) => Err(Unreadable::BrokenOff),
            (true, true) => Ok(reading),
        }
    }

    /// The sections that the runner's configuration has. Counters stay on the page until the process ends, also those of a
    /// section that was taken out of the configuration, or whose token was renewed: that gives it another label. A
    /// runner writes `gitlab_runner_limit` from the configuration that it has at the moment; where it writes none,
    /// every section counts.
    pub fn configured(&self) -> impl Iterator<Item = (&String, &Section)> {
        let told = self.sections.values().any(|section| section.limit.is_some());
        self.sections.iter().filter(move |(_, section)| !told || section.limit.is_some())
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let value = sample.value;
        if !value.is_finite() {
            return;
        }
        match sample.name {
            "process_start_time_seconds" => {
                self.started = Timestamp::from_millisecond((value * 1e3) as i64).ok();
                return;
            }
            "gitlab_runner_process_state_info" => {
                if value > 0.0 {
                    self.state = sample.label("state");
                }
                return;
            }
            "gitlab_runner_concurrent" => {
                self.concurrent = Some(value);
                return;
            }
            _ => {}
        }
        let Some(runner) = sample.label("runner") else { return };
        let section = self.sections.entry(runner).or_default();
        let add = |to: &mut Option<f64>| *to = Some(to.unwrap_or_default() + value);
        match sample.name {
            "gitlab_runner_api_request_statuses_total"
                if sample.label("endpoint").as_deref() == Some("request_job") =>
            {
                let status = sample.label("status").unwrap_or_default();
                *section.requests.entry(status).or_default() += value;
            }
            "gitlab_runner_worker_feeds_total" => add(&mut section.feeds),
            "gitlab_runner_worker_feed_failures_total" => add(&mut section.feed_failures),
            "gitlab_runner_jobs" => section.jobs += value,
            "gitlab_runner_limit" => section.limit = Some(value),
            "gitlab_runner_request_concurrency" => section.in_flight += value,
            "gitlab_runner_request_concurrency_exceeded_total" => add(&mut section.exceeded),
            _ => {}
        }
    }
}

/// One line of the page. The crates that read this format take regular expressions or a date library along; what is
/// needed of it is a name, labels and a number.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            loop {
                if let Some(after) = rest.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (label, quoted) = rest.split_once('=')?;
                let (value, after) = unquote(quoted.trim_start().strip_prefix('"')?)?;
                labels.push((label.trim(), value));
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
        }
        // A time stamp may follow.
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }

    fn label(&self, name: &str) -> Option<String> {
        self.labels.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_prometheus_writes_them() {
        let sample = Sample::parse(r#"a_total{x="1",y="q\"\\\n}",} 2.5e3 1700000000000"#).unwrap();
        assert_eq!((sample.name, sample.value), ("a_total", 2500.0));
        assert_eq!(sample.labels, [("x", "1".to_owned()), ("y", "q\"\\\n}".to_owned())]);
        assert_eq!(Sample::parse("up 1").map(|s| s.value), Some(1.0));
        assert_eq!(Sample::parse("up NaN").map(|s| s.value.is_nan()), Some(true));
        for broken in ["up", "up{", r#"up{x="1"#, r#"up{x="1"}"#, r#"up{x} 1"#, "up one"] {
            assert_eq!(Sample::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_page_of_something_else_is_not_taken_for_a_runner() {
        assert_eq!(Reading::parse("up 1\n"), Err(Unreadable::Foreign));
        assert_eq!(Reading::parse("# HELP x\n\n<html>\n"), Err(Unreadable::Line(3)));
    }

    #[test]
    fn only_sections_with_a_limit_are_configured_unless_none_has_one() {
        let counted = "gitlab_runner_worker_feeds_total{runner=\"abc\"} 1\n\
                       gitlab_runner_worker_feeds_total{runner=\"xyz\"} 1\n";
        let configured = |page: &str| {
            let reading = Reading::parse(page).unwrap();
            reading.configured().map(|(runner, _)| runner.clone()).collect::<Vec<_>>()
        };
        assert_eq!(configured(counted), ["abc", "xyz"]);
        let limit = "gitlab_runner_limit{runner=\"xyz\",runner_name=\"blue\"} 0\n";
        assert_eq!(configured(&format!("{counted}{limit}")), ["xyz"]);
    }

    #[test]
    fn a_number_that_was_cut_off_is_not_taken_for_another() {
        let whole = "gitlab_runner_concurrent 12\n";
        assert_eq!(Reading::parse(whole).map(|reading| reading.concurrent), Ok(Some(12.0)));
        assert_eq!(Reading::parse(&whole[..whole.len() - 2]), Err(Unreadable::BrokenOff));
    }
}
