//! Every state, by values.

use std::{collections::BTreeMap, time::Duration};

use switchyard::{
    model::{BootTime, Moment, SignedDuration},
    sidecar::{Limits, Look, Memory, Reading, Section, State},
};

use super::{at, set};

/// A page of a gitlab-runner 19 with one section.
fn page(requests: &[(&str, f64)]) -> Reading {
    let section = Section {
        requests: requests.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect(),
        feeds: Some(requests.iter().map(|(_, count)| count).sum()),
        feed_failures: Some(0.0),
        ..Section::default()
    };
    Reading {
        state: Some("running".to_owned()),
        started: Some(at(0).wall),
        concurrent: Some(2.0),
        sections: BTreeMap::from([("abc".to_owned(), section)]),
    }
}

fn with(mut page: Reading, change: impl FnOnce(&mut Section)) -> Reading {
    change(page.sections.get_mut("abc").expect("its section"));
    page
}

fn look_of(answer: Result<Reading, String>) -> Look {
    answer.map_or_else(Look::Silence, Look::Page)
}

/// The state after looks at these seconds.
fn told(looks: &[(i64, Result<Reading, String>)], now: i64) -> State {
    let (mut memory, limits) = (Memory::default(), Limits::default());
    for (second, look) in looks {
        memory.look(look_of(look.clone()), at(*second), &limits);
    }
    let judged = memory.judge(at(now), &limits);
    assert!(!judged.sentence.is_empty());
    judged.state
}

fn refused() -> Result<Reading, String> {
    Err("connection refused".to_owned())
}

#[test]
fn a_runner_that_does_not_answer_several_times_is_dead_and_no_other_is() {
    let polling = || Ok(page(&[("204", 5.0)]));
    assert_eq!(told(&[], 0), State::Unknown);
    assert_eq!(told(&[(0, refused())], 0), State::Unknown);
    assert_eq!(
        told(&[(0, polling()), (2, refused()), (4, refused())], 4),
        State::Polling,
        "one look is no proof"
    );
    let dead = told(&[(0, polling()), (2, refused()), (4, refused()), (6, refused())], 6);
    assert_eq!(dead, State::Dead);
    let back = [(0, refused()), (2, refused()), (4, refused()), (6, polling())];
    assert_eq!(told(&back, 6), State::Polling);
    for state in State::ALL {
        assert_eq!(
            state.live(),
            state != State::Dead,
            "{state}: an outage of GitLab must not restart runners"
        );
        assert!(state.live() || !state.ready(), "{state}");
    }
}

/// A page that a newer runner writes in another way, or a wrong address, must not restart the fleet.
#[test]
fn what_answers_is_not_dead_although_nobody_can_read_it() {
    let (mut memory, limits) = (Memory::default(), Limits::default());
    let puzzle = || Look::Puzzle("line 3 is not in Prometheus' text format".to_owned());
    memory.look(Look::Page(page(&[("204", 5.0)])), at(100), &limits);
    for second in 101..120 {
        memory.look(puzzle(), at(second), &limits);
        let judged = memory.judge(at(second), &limits);
        assert_eq!(judged.state, State::Unknown);
        assert!(judged.sentence.contains("line 3"), "{}", judged.sentence);
    }
    memory.look(Look::Page(page(&[("204", 6.0)])), at(120), &limits);
    assert_eq!(memory.judge(at(120), &limits).state, State::Polling);
    // Silence after it is silence all the same.
    memory.look(puzzle(), at(121), &limits);
    for second in 122..125 {
        memory.look(Look::Silence("refused".to_owned()), at(second), &limits);
    }
    assert_eq!(memory.judge(at(124), &limits).state, State::Dead);
}

#[test]
fn a_start_is_told_from_a_silence() {
    let silent = || Ok(page(&[]));
    assert_eq!(told(&[(1, silent())], 1), State::Starting);
    assert_eq!(told(&[(1, silent()), (55, silent())], 55), State::Starting, "the first poll may be held");
    assert_eq!(told(&[(1, silent()), (90, silent())], 90), State::Blocked);
    let starting = Reading { state: Some("starting".to_owned()), ..page(&[]) };
    assert_eq!(told(&[(200, Ok(starting))], 200), State::Starting);
    // A sidecar that comes late to a runner does not know yet.
    let seen = || Ok(page(&[("204", 900.0)]));
    assert_eq!(told(&[(5000, seen())], 5000), State::Unknown);
    assert_eq!(told(&[(5000, seen()), (5002, Ok(page(&[("204", 901.0)])))], 5002), State::Polling);
}

#[test]
fn the_last_answer_decides_and_of_two_at_once_the_worse() {
    let base = (100, Ok(page(&[("204", 10.0), ("403", 1.0), ("502", 1.0)])));
    let then = |change: &[(&str, f64)]| {
        let mut counts = BTreeMap::from([("204", 10.0), ("403", 1.0), ("502", 1.0)]);
        counts.extend(change.iter().copied());
        Ok(page(&counts.into_iter().collect::<Vec<_>>()))
    };
    for (change, state) in [
        (&[("204", 11.0)][..], State::Polling),
        (&[("201", 1.0)], State::Polling),
        (&[("403", 2.0)], State::Refused),
        (&[("502", 2.0)], State::GitlabUnreachable),
        (&[("-1", 1.0)], State::GitlabUnreachable),
        (&[("429", 1.0)], State::GitlabUnreachable),
        (&[("204", 12.0), ("403", 2.0)], State::Refused),
        (&[("204", 12.0), ("-1", 1.0)], State::GitlabUnreachable),
    ] {
        assert_eq!(told(&[base.clone(), (102, then(change))], 102), state, "{change:?}");
    }
    // GitLab stays away for hours: not ready, and never dead.
    let away = [base.clone(), (102, then(&[("-1", 5.0)])), (9000, then(&[("-1", 5.0)]))];
    assert_eq!(told(&away, 9000), State::GitlabUnreachable);
    // Long polling: an answer may take 50 s and longer silences are none.
    let good = || then(&[("204", 11.0)]);
    assert_eq!(told(&[base.clone(), (102, good()), (160, good())], 160), State::Polling);
    assert_eq!(told(&[base, (102, good()), (161, good())], 161), State::Blocked, "nothing moves any more");
}

#[test]
fn a_runner_that_sleeps_after_refusals_is_told_from_one_that_polls() {
    let base = (100, Ok(page(&[("204", 10.0)])));
    let asleep = |failures: f64| {
        Ok(with(page(&[("204", 10.0), ("403", 3.0)]), |s| {
            (s.feeds, s.feed_failures) = (Some(13.0), Some(failures));
        }))
    };
    let story = [base.clone(), (110, asleep(0.0)), (113, asleep(1.0)), (200, asleep(30.0))];
    assert_eq!(told(&story[..2], 110), State::Refused);
    assert_eq!(told(&story[..3], 113), State::Asleep);
    assert_eq!(told(&story, 200), State::Asleep);
    let woken = Ok(with(page(&[("204", 11.0), ("403", 3.0)]), |s| {
        (s.feeds, s.feed_failures) = (Some(14.0), Some(31.0));
    }));
    let mut story = story.to_vec();
    story.push((203, woken));
    let after = Ok(with(page(&[("204", 12.0), ("403", 3.0)]), |s| {
        (s.feeds, s.feed_failures) = (Some(15.0), Some(31.0));
    }));
    story.push((206, after));
    assert_eq!(told(&story, 206), State::Polling);

    // Before 15.11 nothing counts what is not fed: a 403 and then silence.
    let old = |counts: &[(&str, f64)]| {
        Ok(Reading { state: None, ..with(page(counts), |s| (s.feeds, s.feed_failures) = (None, None)) })
    };
    let story = [(100, old(&[("204", 10.0)])), (102, old(&[("204", 10.0), ("403", 1.0)]))];
    assert_eq!(told(&story, 104), State::Refused);
    assert_eq!(told(&story, 111), State::Asleep);
    // Only 403 lets a runner sleep: after another refusal the next request may be held.
    let story = [(100, old(&[("204", 10.0)])), (102, old(&[("204", 10.0), ("401", 1.0)]))];
    assert_eq!(told(&story, 111), State::Refused);
}

#[test]
fn full_draining_stuck_and_blocked_are_told_apart() {
    let base = (100, Ok(page(&[("204", 10.0)])));
    let busy = |jobs: f64| Ok(with(page(&[("204", 10.0)]), |s| s.jobs = jobs));
    assert_eq!(told(&[base.clone(), (900, busy(2.0))], 900), State::Full);
    assert_ne!(told(&[base.clone(), (900, busy(1.0))], 900), State::Full);
    let limited = Ok(with(page(&[("204", 10.0)]), |s| (s.jobs, s.limit) = (1.0, Some(1.0))));
    assert_eq!(told(&[base.clone(), (900, limited)], 900), State::Full);

    for state in ["graceful-shutdown", "forceful-shutdown"] {
        let ending = Reading { state: Some(state.to_owned()), ..page(&[("204", 11.0)]) };
        assert_eq!(told(&[base.clone(), (102, Ok(ending))], 102), State::Draining, "{state}");
    }
    let (mut memory, limits) = (Memory::default(), Limits::default());
    memory.look(look_of(base.1.clone()), at(100), &limits);
    memory.drain();
    memory.look(look_of(Ok(page(&[("204", 11.0)]))), at(102), &limits);
    assert_eq!(memory.judge(at(102), &limits).state, State::Draining, "told by the preStop hook");
    let anew = Reading { started: Some(at(110).wall), ..page(&[("204", 1.0)]) };
    memory.look(look_of(Ok(anew)), at(112), &limits);
    assert_eq!(memory.judge(at(112), &limits).state, State::Polling, "another process");

    let waits = |exceeded: f64| {
        Ok(with(page(&[("204", 10.0)]), |s| (s.in_flight, s.exceeded) = (1.0, Some(exceeded))))
    };
    let stuck = [base.clone(), (102, waits(0.0)), (170, waits(20.0))];
    assert_eq!(told(&stuck, 170), State::Stuck);
    assert_eq!(told(&[base.clone(), (170, base.1.clone())], 170), State::Blocked);
}

/// What was counted before it belongs to a process that is no more.
#[test]
fn a_restart_is_a_new_process_whether_or_not_it_says_when_it_began() {
    let asleep = with(page(&[("204", 10.0), ("403", 3.0)]), |s| {
        (s.feeds, s.feed_failures) = (Some(10.0), Some(9.0));
    });
    let before = (98, Ok(with(page(&[("204", 10.0)]), |s| s.feed_failures = Some(1.0))));
    let story = |then: Reading| [before.clone(), (100, Ok(asleep.clone())), (102, Ok(then))];
    assert_eq!(told(&story(asleep.clone())[..2], 100), State::Asleep);
    let anew = Reading { started: Some(at(101).wall), ..page(&[]) };
    assert_eq!(told(&story(anew), 102), State::Starting);
    let anew = Reading { started: Some(at(101).wall), ..page(&[("204", 1.0)]) };
    assert_eq!(told(&story(anew), 102), State::Polling);
    // Counters that fell, without a time: nothing is known but that it runs, until something moves.
    let nameless = |reading: Reading| Reading { started: None, state: None, ..reading };
    let story = [
        (98, Ok(nameless(page(&[("204", 10.0)])))),
        (100, Ok(nameless(asleep.clone()))),
        (102, Ok(nameless(page(&[("204", 2.0)])))),
        (104, Ok(nameless(page(&[("204", 3.0)])))),
    ];
    assert_eq!(told(&story[..3], 102), State::Unknown);
    assert_eq!(told(&story, 104), State::Polling);
}

/// The counters of a real runner stay until its process ends: also those of a section that was taken out of config.toml, and
/// those under the old label of one whose token was renewed. Only `gitlab_runner_limit` is of the configuration.
#[test]
fn a_section_that_is_configured_no_more_is_judged_no_more() {
    const LEFT: Option<f64> = None;
    const HERE: Option<f64> = Some(0.0);
    let counted = |requests: &[(&str, f64)], limit: Option<f64>| {
        let section = page(requests).sections.remove("abc").expect("its section");
        Section { limit, ..section }
    };
    let pages = |sections: &[(&str, Section)]| {
        let sections = sections.iter().map(|(runner, section)| ((*runner).to_owned(), section.clone()));
        Look::Page(Reading { sections: sections.collect(), ..page(&[]) })
    };
    let limits = Limits::default();
    let mut memory = Memory::default();
    let mut look = |second, sections: &[(&str, Section)]| {
        memory.look(pages(sections), at(second), &limits);
        let judged = memory.judge(at(second), &limits);
        let requests: Vec<_> = memory.requests().map(|(runner, ..)| runner.to_owned()).collect();
        let shown = requests.iter().all(|runner| judged.sections.contains_key(runner));
        assert!(shown, "{requests:?} of {judged:?}");
        (judged.state, judged.sections.into_keys().collect::<Vec<_>>().join(" "))
    };
    let good = |count, limit| counted(&[("204", count)], limit);
    look(100, &[("abc", good(10.0, HERE)), ("xyz", counted(&[("401", 1.0)], HERE))]);
    let both = look(102, &[("abc", good(11.0, HERE)), ("xyz", counted(&[("401", 2.0)], HERE))]);
    assert_eq!(both, (State::Refused, "abc xyz".to_owned()));
    // What it was at the end holds nobody up, nor does its silence.
    for second in [104_i32, 300, 9000] {
        let one = [("abc", good(10.0 + f64::from(second), HERE)), ("xyz", counted(&[("401", 2.0)], LEFT))];
        assert_eq!(look(second.into(), &one), (State::Polling, "abc".to_owned()), "{second}");
    }
    // Put in again, it is new: what it once counted is no answer.
    let back = [("abc", good(9011.0, HERE)), ("xyz", counted(&[("401", 2.0)], HERE))];
    assert_eq!(look(9002, &back), (State::Unknown, "abc xyz".to_owned()));
    let polls = [("abc", good(9012.0, HERE)), ("xyz", counted(&[("401", 2.0), ("204", 1.0)], HERE))];
    assert_eq!(look(9004, &polls), (State::Polling, "abc xyz".to_owned()));

    // A renewed token: the first poll under the new label may be held for long, and only then something is wrong.
    let renewed = |new: &[(&str, f64)]| [("abc", good(9012.0, LEFT)), ("new", counted(new, HERE))];
    assert_eq!(look(9010, &renewed(&[])), (State::Unknown, "new".to_owned()));
    assert_eq!(look(9060, &renewed(&[])), (State::Unknown, "new".to_owned()));
    assert_eq!(look(9069, &renewed(&[])), (State::Blocked, "new".to_owned()));
    assert_eq!(look(9070, &renewed(&[("204", 1.0)])), (State::Polling, "new".to_owned()));
    // The jobs of the one that left run on, and take up what the process may run.
    let busy = Section { jobs: 2.0, ..good(9012.0, LEFT) };
    let full = look(9300, &[("abc", busy), ("new", counted(&[("204", 1.0)], HERE))]);
    assert_eq!(full, (State::Full, "new".to_owned()));
}

#[test]
fn one_section_that_takes_no_jobs_does_not_hide_behind_another() {
    let two = |good: f64, bad: f64| {
        let mut page = page(&[("204", good)]);
        let other = Section { requests: BTreeMap::from([("403".to_owned(), bad)]), ..Section::default() };
        page.sections.insert("xyz".to_owned(), other);
        Ok(page)
    };
    let (mut memory, limits) = (Memory::default(), Limits::default());
    memory.look(look_of(two(10.0, 1.0)), at(100), &limits);
    memory.look(look_of(two(11.0, 2.0)), at(102), &limits);
    let judged = memory.judge(at(102), &limits);
    assert_eq!(judged.state, State::Refused);
    assert_eq!(judged.sections["abc"], State::Polling);
    assert!(judged.sentence.contains("runner xyz"), "{}", judged.sentence);
    // What a probe writes down and reads again is the same.
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
}

/// Ages are told by a clock that nobody can set.
#[test]
fn a_clock_that_is_set_makes_nothing_young_and_nothing_old() {
    let limits = Limits::default();
    let good = |memory: &mut Memory| {
        memory.look(Look::Page(page(&[("204", 10.0)])), at(100), &limits);
        memory.look(Look::Page(page(&[("204", 11.0)])), at(102), &limits);
    };
    let asleep = |memory: &mut Memory| {
        good(memory);
        memory.look(
            Look::Page(with(page(&[("204", 11.0)]), |s| s.feed_failures = Some(1.0))),
            at(104),
            &limits,
        );
    };
    for by in [-86_400, -3600, -60, 0, 60, 3600, 86_400] {
        let mut memory = Memory::default();
        good(&mut memory);
        let judged = |memory: &Memory, second| memory.judge(set(second, by), &limits).state;
        assert_eq!(judged(&memory, 110), State::Polling, "set by {by} s");
        assert_eq!(judged(&memory, 161), State::Blocked, "set by {by} s");
        // What comes after is newer than what came before, whatever the time of day.
        memory.look(Look::Page(page(&[("204", 11.0), ("403", 1.0)])), set(162, by), &limits);
        assert_eq!(judged(&memory, 162), State::Refused, "set by {by} s");
        let mut memory = Memory::default();
        asleep(&mut memory);
        memory.look(
            Look::Page(with(page(&[("204", 12.0)]), |s| s.feed_failures = Some(1.0))),
            set(106, by),
            &limits,
        );
        assert_eq!(judged(&memory, 106), State::Polling, "set by {by} s");
        // A process that never asks does not stay young, and one that has run for long does not become it.
        let mut memory = Memory::default();
        memory.look(Look::Page(page(&[])), at(1), &limits);
        assert_eq!(judged(&memory, 90), State::Blocked, "set by {by} s");
        if by < -60 {
            let mut memory = Memory::default();
            memory.look(Look::Page(page(&[("204", 900.0)])), set(5000, by), &limits);
            assert_eq!(memory.judge(set(5000, by), &limits).state, State::Unknown, "set by {by} s");
        }
    }
    // What a probe wrote down before the machine's last start is old.
    let mut memory = Memory::default();
    good(&mut memory);
    let restarted = Moment { boot: BootTime::new(Duration::from_secs(30)), ..at(110) };
    assert_ne!(memory.judge(restarted, &limits).state, State::Polling);
}

#[test]
fn quiet_is_the_hold_two_intervals_and_a_look() {
    assert_eq!(Limits::default().quiet(), SignedDuration::from_secs(58));
}
