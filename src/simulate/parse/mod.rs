//! A story's text becomes values, or the list of all that is wrong with it. The lines before the first `at` are in `header`,
//! those after it in `timeline`; what people do and what is expected have a file each.

mod claims;
mod file;
mod header;
mod people;
mod timeline;
mod vocabulary;

use std::collections::BTreeMap;

use header::Header;
use timeline::Timeline;
pub use vocabulary::vocabulary;

use super::{
    story::Story,
    words::{Parsed, Problem, Problems, Words},
};
use crate::model::{PoolSelector, SignedDuration};

/// Reads a story that names no file.
///
/// # Errors
/// All that is wrong, in the order of the lines.
pub fn parse(text: &str) -> Result<Story, Problems> {
    parse_with(text, |_| Err("this story is read without access to files".to_owned()))
}

/// Reads a story; `open` gives the text of the configuration file that it names, or says why not.
///
/// # Errors
/// All that is wrong, in the order of the lines.
pub fn parse_with(text: &str, open: impl Fn(&str) -> Result<String, String>) -> Result<Story, Problems> {
    let mut header = Header::default();
    let mut timeline = Vec::new();
    let mut problems = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let words = Words::new(i + 1, line);
        if words.is_empty() {
            continue;
        }
        if words.peek() == Some("at") {
            timeline.push(words);
        } else if let Err(problem) = header.read(words, !timeline.is_empty(), &open) {
            problems.push(problem);
        }
    }
    header.complete();
    let config = match header.config() {
        Ok(config) => config,
        Err(wrong) => {
            problems.extend(wrong);
            // The rest is read against what can be read of the header.
            header.forget_settings();
            match header.config() {
                Ok(config) => config,
                Err(_) => return Err(sorted(problems)),
            }
        }
    };
    let mut starts = BTreeMap::new();
    for fleet in config.topology.fleets.values() {
        let patterns = fleet.pools.iter().find(|(_, p)| matches!(p.selector, PoolSelector::Description(_)));
        if let Some((cluster, _)) = patterns {
            let what = format!(
                "fleets.{}.pools.{cluster}.description: no runner is simulated by its description; set home_tag instead",
                fleet.name
            );
            problems.push(Problem { line: header.line_of(fleet), column: 1, what });
        }
        match header.start(fleet) {
            Ok(start) => drop(starts.insert(fleet.name.clone(), start)),
            Err(problem) => problems.push(problem),
        }
    }
    let story = Story {
        seed: header.seed,
        period: config.pace.period,
        poll: header.poll.unwrap_or(Some(config.alertmanager.poll)),
        prometheus: header.prometheus.unwrap_or(1),
        dns: header.dns.unwrap_or(2),
        tools: header.tools(),
        topology: config.topology,
        starts,
        events: Vec::new(),
        end: SignedDuration::ZERO,
    };
    let mut reader = Timeline::new(story);
    for words in timeline {
        if let Err(problem) = reader.read(words) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    Ok(reader.finish())
}

fn sorted(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|p| (p.line, p.column));
    Problems(problems)
}

fn from_one(words: &mut Words<'_>) -> Parsed<u32> {
    let number: u32 = words.parse("a number from 1")?;
    if number == 0 {
        return Err(words.problem("a number from 1 is expected here"));
    }
    Ok(number)
}

/// From 1 to 50.
fn count(words: &mut Words<'_>) -> Parsed<usize> {
    let number: usize = words.parse("a number")?;
    if (1..=50).contains(&number) {
        Ok(number)
    } else {
        Err(words.problem("a number from 1 to 50 is expected here"))
    }
}
