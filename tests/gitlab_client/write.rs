//! Moving a tag.

use std::time::Duration;

use futures::future::join;
use switchyard::{
    clock,
    model::{RunnerId, StepOutcome, TagChange, TagStep},
};
use switchyard_lab::{
    gitlab::{Config, Fault, Kind, Match, Outage, RunnerSpec, TokenSpec},
    wait::PATIENCE,
};

use crate::{Bench, SCOPES, tag};

fn step(change: TagChange, runner: RunnerId, name: &str) -> TagStep {
    TagStep { cluster: "blue".parse().unwrap(), runner, tag: tag(name), change, paused: None }
}

fn add(runner: RunnerId) -> TagStep {
    step(TagChange::Add, runner, "rnd-runner")
}

fn remove(runner: RunnerId) -> TagStep {
    step(TagChange::Remove, runner, "rnd-runner")
}

fn put() -> Match {
    Match::operation("update_runner")
}

fn get() -> Match {
    Match::operation("get_runner")
}

#[track_caller]
fn assert_failed(outcome: StepOutcome, wanted_transient: bool, text: &str) {
    match outcome {
        StepOutcome::Failed { why, transient } => {
            assert!(why.contains(text), "{why}");
            assert_eq!(transient, wanted_transient, "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_put_changes_one_tag_and_keeps_every_other() {
    let bench = Bench::new();
    let note = Some("keep me".to_owned());
    let spec = RunnerSpec {
        maintenance_note: note.clone(),
        ..RunnerSpec::new("blue", &["zz", "runner-a", "Docker"])
    };
    let blue = RunnerId(bench.admin().create_runner(spec).id);

    assert_eq!(bench.client.apply(&add(blue)).await, StepOutcome::Done);
    let changes = bench.admin().changes();
    assert_eq!(changes.len(), 1);
    let new = changes[0].new.as_ref().unwrap();
    assert_eq!(new.tag_list, ["zz", "runner-a", "Docker", "rnd-runner"]);
    assert_eq!((new.paused, &new.maintenance_note), (false, &note));
    assert_eq!(changes[0].via, "rest");

    assert_eq!(bench.client.apply(&remove(blue)).await, StepOutcome::Done);
    assert_eq!(bench.admin().tags(blue.0), ["Docker", "runner-a", "zz"]);
    assert_eq!((bench.admin().changes().len(), bench.admin().count("update_runner")), (2, 2));
}

#[tokio::test]
async fn pausing_and_unpausing_go_with_the_tag_in_one_put() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a", "rnd-runner"]);
    assert_eq!(bench.client.apply(&TagStep { paused: Some(true), ..remove(blue) }).await, StepOutcome::Done);
    assert!(bench.admin().runner(blue.0).unwrap().paused);
    assert_eq!(bench.client.apply(&TagStep { paused: Some(false), ..add(blue) }).await, StepOutcome::Done);
    assert!(!bench.admin().runner(blue.0).unwrap().paused);
    // The tag is there already; only the flag differs.
    assert_eq!(bench.client.apply(&TagStep { paused: Some(true), ..add(blue) }).await, StepOutcome::Done);
    assert!(bench.admin().runner(blue.0).unwrap().paused);
    assert_eq!(bench.admin().count("update_runner"), 3);
}

#[tokio::test]
async fn a_record_that_is_as_wanted_is_not_written() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a", "rnd-runner"]);
    let green = bench.runner("green", &["runner-b"]);
    assert_eq!(bench.client.apply(&TagStep { paused: Some(false), ..add(blue) }).await, StepOutcome::Done);
    assert_eq!(bench.client.apply(&remove(green)).await, StepOutcome::Done);
    assert_eq!(bench.admin().count("update_runner"), 0);
}

#[tokio::test]
async fn what_gitlab_would_refuse_is_said_before_it_is_sent() {
    let bench = Bench::new();
    let fifty: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    let fifty: Vec<&str> = fifty.iter().map(String::as_str).collect();
    let full = bench.runner("full", &fifty);
    assert_failed(bench.client.apply(&add(full)).await, false, "would carry 51 tags, and GitLab allows 50");
    let bare = bench.runner("bare", &["rnd-runner"]);
    assert_failed(bench.client.apply(&remove(bare)).await, false, "give it a home tag");
    assert_eq!(bench.admin().count("update_runner"), 0);

    let spec = RunnerSpec { run_untagged: true, ..RunnerSpec::new("untagged", &["rnd-runner"]) };
    let untagged = RunnerId(bench.admin().create_runner(spec).id);
    assert_eq!(bench.client.apply(&remove(untagged)).await, StepOutcome::Done);
    assert!(bench.admin().tags(untagged.0).is_empty());
}

#[tokio::test]
async fn refusals_are_permanent_failures_in_gitlabs_words() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    assert_failed(bench.client.apply(&add(RunnerId(4711))).await, false, "404 Runner Not Found");
    let reader = bench.client(TokenSpec::admin("reader", &["read_api"]), |_| {});
    assert_failed(reader.apply(&add(blue)).await, false, "insufficient_scope");
    let revoked = bench.client(TokenSpec { revoked: true, ..TokenSpec::admin("old", &SCOPES) }, |_| {});
    assert_failed(revoked.apply(&add(blue)).await, false, "invalid_token");
    let too_long = Kind::Status { status: 400, body: r#"{"message":{"tags_list":["is odd"]}}"#.to_owned() };
    bench.admin().fault(Fault::new(put(), too_long));
    assert_failed(bench.client.apply(&add(blue)).await, false, "tags_list is odd");
    assert!(bench.admin().changes().is_empty());
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_and_never_failed_nor_repeated() {
    for (kind, carried_out) in [
        (Kind::ResetAfterCommit, true),
        (Kind::TimeoutAfterCommit, true),
        (Kind::ResetBefore, false),
        (Kind::Hang, false),
        (Kind::BadGateway, false),
        (Kind::Unavailable, false),
        (Kind::NonJson, false),
    ] {
        let bench = Bench::with(Default::default(), TokenSpec::admin("switchyard", &SCOPES), |settings| {
            settings.request_timeout = Duration::from_secs(1);
        });
        let blue = bench.runner("blue", &["runner-a"]);
        bench.admin().fault(Fault::new(put(), kind.clone()));
        let outcome = bench.client.apply(&add(blue)).await;
        assert!(matches!(outcome, StepOutcome::Unknown(_)), "{kind:?}: {outcome:?}");
        assert_eq!(bench.codes("update_runner").len(), 1, "{kind:?}");
        assert_eq!(bench.admin().changes().len(), usize::from(carried_out), "{kind:?}");

        // The same step again converges, whatever became of the first.
        bench.admin().clear_faults();
        assert_eq!(bench.client.apply(&add(blue)).await, StepOutcome::Done);
        assert_eq!(bench.admin().changes().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_success_whose_text_is_lost_is_settled_by_reading_back() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    bench.admin().fault(Fault::new(put(), Kind::TruncatedBody));
    assert_eq!(bench.client.apply(&add(blue)).await, StepOutcome::Done);
    assert_eq!(bench.admin().changes().len(), 1);
}

#[tokio::test]
async fn what_goes_wrong_before_the_write_is_a_failure_that_may_pass() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    for kind in [Kind::BadGateway, Kind::ResetBefore, Kind::NonJson, Kind::TruncatedBody] {
        bench.admin().fault(Fault::new(get(), kind));
        assert_failed(bench.client.apply(&add(blue)).await, true, "looking at a runner: ");
        bench.admin().clear_faults();
    }
    bench.admin().outage(Outage::Refuse);
    let refused = bench.client.apply(&add(blue)).await;
    assert_failed(refused, true, "looking at a runner: ");
    assert_failed(bench.client.apply(&add(blue)).await, true, "cannot connect to GitLab: ");
    assert_eq!(bench.admin().count("update_runner"), 0);
    assert_eq!(bench.codes("get_runner").last().unwrap(), "connect");
}

#[tokio::test]
async fn a_rate_limited_write_was_not_carried_out() {
    for kind in [
        Kind::RateLimitedText { retry_after: 0 },
        Kind::RateLimitedJson,
        Kind::RateLimitedJsonRetryAfter { retry_after: 0 },
    ] {
        let bench = Bench::new();
        let blue = bench.runner("blue", &["runner-a"]);
        bench.admin().fault(Fault::new(put(), kind));
        assert_failed(bench.client.apply(&add(blue)).await, true, "GitLab limits the request rate");
        assert_eq!(bench.codes("update_runner"), ["429"]);
        bench.admin().clear_faults();
        assert_eq!(bench.client.apply(&add(blue)).await, StepOutcome::Done);
    }
}

#[tokio::test]
async fn a_change_that_reading_back_does_not_show_is_not_done() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    // What somebody else's write in between looks like, and a replica that lags.
    bench.admin().fault(Fault::new(get(), Kind::StaleReplica { writes: 1, seconds: 0 }).after(1));
    assert_failed(bench.client.apply(&add(blue)).await, true, "somebody else wrote in between");
    bench.admin().clear_faults();

    let green = bench.runner("green", &["runner-b"]);
    bench.admin().fault(Fault::new(get(), Kind::BadGateway).after(1));
    let outcome = bench.client.apply(&add(green)).await;
    assert!(
        matches!(&outcome, StepOutcome::Unknown(why) if why.contains("reading back failed")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn two_steps_on_one_record_do_not_overwrite_each_other() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    bench.admin().fault(Fault::new(Match::any(), Kind::Latency { ms: 30 }));
    let other = step(TagChange::Add, blue, "ops-runner");
    let first = add(blue);
    let outcomes = join(bench.client.apply(&first), bench.client.apply(&other)).await;
    assert_eq!(outcomes, (StepOutcome::Done, StepOutcome::Done));
    assert_eq!(bench.admin().tags(blue.0), ["ops-runner", "rnd-runner", "runner-a"]);
}

/// A process that was frozen between the look and the write, or that waited too long for its turn.
#[tokio::test]
async fn no_write_is_sent_after_its_deadline() {
    let bench = Bench::new();
    let blue = RunnerId(bench.admin().create_runner(RunnerSpec::new("blue", &["runner-a"])).id);
    bench.admin().fault(Fault::new(get(), Kind::Latency { ms: 300 }));
    let soon = clock::boot_time().after(Duration::from_millis(100));
    assert_failed(bench.client.apply_before(&add(blue), Some(soon)).await, true, "another process may lead");
    assert_eq!(bench.admin().count("update_runner"), 0);
    bench.admin().clear_faults();
    let later = clock::boot_time().after(Duration::from_secs(60));
    assert_eq!(bench.client.apply_before(&add(blue), Some(later)).await, StepOutcome::Done);
}

/// A connection may take long to make, and the process may be frozen meanwhile: the deadline ends the request, too.
#[tokio::test]
async fn a_write_ends_with_its_deadline() {
    let hour = Duration::from_secs(3600);
    let bench = Bench::with(Config::default(), TokenSpec::admin("switchyard", &SCOPES), |settings| {
        settings.request_timeout = hour;
    });
    let blue = RunnerId(bench.admin().create_runner(RunnerSpec::new("blue", &["runner-a"])).id);
    bench.admin().fault(Fault::new(put(), Kind::Latency { ms: 3_600_000 }));
    let deadline = clock::boot_time().after(Duration::from_secs(3));
    let outcome = tokio::time::timeout(PATIENCE, bench.client.apply_before(&add(blue), Some(deadline))).await;
    assert!(!matches!(outcome.expect("an outcome"), StepOutcome::Done));
    assert!(clock::boot_time() >= deadline);
}
