//! A change of a runner's tags, and GitLab's answers to its requests: each after a line of dashes, with a status, then what
//! `Retry-After` says, on its first line; one without a status never comes. Whatever GitLab says, one tag changes and no
//! other, and done is only what GitLab shows.
#![no_main]

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use switchyard::{
    gitlab::{Ask, Change, Error, Next, Reply, read_runner},
    model::{Runner, RunnerId, StepOutcome, Tag, TagChange, TagStep},
};

fn answer(ask: &Ask, text: &str) -> Result<Reply, Error> {
    let operation = ask.operation();
    let (line, body) = text.split_once('\n').unwrap_or((text, ""));
    let (status, wait) = line.split_once(' ').unwrap_or((line, ""));
    let Some(status) = status.parse().ok().filter(|status| (200..600).contains(status)) else {
        return Err(Error::Timeout { operation });
    };
    let wait = HeaderValue::from_str(wait).ok().map(|wait| (RETRY_AFTER, wait));
    Reply::new(operation, status, HeaderMap::from_iter(wait), body.into())
}

fn record(text: &str) -> Option<Runner> {
    read_runner(text.split_once('\n')?.1.as_bytes()).ok()
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut parts = text.split("\n---\n");
    let wanted = parts.next().unwrap_or_default();
    let tag: Tag = "rnd-runner".parse().expect("a tag");
    let step = TagStep {
        cluster: "blue".parse().expect("a name"),
        runner: RunnerId(7),
        tag: tag.clone(),
        change: if wanted.contains("add") { TagChange::Add } else { TagChange::Remove },
        paused: [("unpaused", false), ("paused", true)].into_iter().find(|p| wanted.contains(p.0)).map(|p| p.1),
    };
    let adds = step.change == TagChange::Add;
    let (mut change, mut ask) = Change::new(&step);
    let (mut requests, mut writes, mut read) = (0, 0, None);
    loop {
        requests += 1;
        assert!(requests <= 3, "{ask:?}");
        let told = parts.next().unwrap_or_default();
        if let Ask::Write(_, update) = &ask {
            writes += 1;
            assert_eq!(writes, 1, "a write is never repeated");
            let mut before: BTreeSet<Tag> = read.take().map(|read: Runner| read.tags).expect("it was read before");
            let list = update["tag_list"].as_array().expect("a list");
            let mut tags: BTreeSet<Tag> = list.iter().filter_map(|tag| tag.as_str()?.parse().ok()).collect();
            assert!(list.len() <= 50 || before.contains(&tag) == adds, "GitLab takes no more");
            assert_eq!(tags.remove(&tag), adds);
            before.remove(&tag);
            assert_eq!(tags, before, "no other tag changes");
        }
        read = record(told);
        match change.heard(answer(&ask, told)) {
            Next::Ask(next) => ask = next,
            Next::End(StepOutcome::Done) => {
                let read = read.expect("what is done was seen");
                assert_eq!(read.tags.contains(&tag), adds);
                assert!(step.paused.is_none_or(|wanted| wanted == read.paused));
                return;
            }
            Next::End(outcome) => return drop(format!("{outcome:?}")),
        }
    }
});
