//! Reading over GraphQL.

use switchyard::{gitlab::Error, gitlab::Scope, gitlab::Wanted, model::RunnerId};
use switchyard_lab::gitlab::{Fault, Kind, Match, Owner, Role, RunnerSpec, TokenSpec};

use crate::{Bench, SCOPES, by_id, everything, ids, tag, tag_set, tagged};

fn graphql() -> Match {
    Match::operation("graphql_query")
}

fn complaint(text: &str) -> Kind {
    Kind::Status { status: 200, body: format!(r#"{{"errors":[{{"message":"{text}"}}]}}"#) }
}

const TOO_COMPLEX: &str = "Query has complexity of 346, which exceeds max complexity of 250";

#[tokio::test]
async fn every_wanted_record_comes_once_and_sorted() {
    let bench = Bench::new();
    let green = bench.runner("green", &["runner-b"]);
    let blue = bench.runner("blue", &["runner-a", "rnd-runner", "docker"]);
    let by_number = bench.runner("by number", &["x"]);
    bench.runner("somebody else's", &["other", "runner-A"]);
    let paused = RunnerSpec { paused: true, ..RunnerSpec::new("stray", &["rnd-runner"]) };
    let stray = RunnerId(bench.admin().create_runner(paused).id);
    bench.admin().heartbeat(blue.0, "s_one");
    bench.admin().heartbeat(blue.0, "s_two");

    let mut wanted = tagged(&["runner-a", "runner-b", "rnd-runner"]);
    wanted.ids = [by_number, blue].into();
    let runners = bench.client.runners(&wanted).await.unwrap();

    assert_eq!(ids(&runners), [green, blue, by_number, stray]);
    let blue = &runners[1];
    assert_eq!(blue.description, "blue");
    assert_eq!(blue.tags, tag_set(&["docker", "rnd-runner", "runner-a"]));
    assert!(blue.contacted_at.is_some() && !blue.paused);
    let mut systems: Vec<&str> = blue.managers.iter().map(|m| m.system_id.as_str()).collect();
    systems.sort_unstable();
    assert_eq!(systems, ["s_one", "s_two"]);
    assert!(blue.managers.iter().all(|m| m.contacted_at.is_some()));
    assert!(runners[3].paused);
    assert_eq!(runners[0].contacted_at, None);
    assert!(bench.admin().requests().iter().all(|r| r.operation == "graphql_query"), "REST was used");
}

#[tokio::test]
async fn nothing_wanted_asks_nothing() {
    let bench = Bench::new();
    bench.runner("blue", &["runner-a"]);
    assert!(bench.client.runners(&Wanted::default()).await.unwrap().is_empty());
    assert!(bench.admin().requests().is_empty());
}

#[tokio::test]
async fn lists_longer_than_a_page_come_whole_and_without_doubles() {
    let bench = Bench::new();
    let both = bench.runners(230, &["runner-a", "rnd-runner"]);
    let one = bench.runners(20, &["rnd-runner"]);
    let runners = bench.client.runners(&tagged(&["runner-a", "rnd-runner"])).await.unwrap();
    assert_eq!(ids(&runners), [both, one].concat());
    // 230 and 250 records, a hundred at a time.
    assert_eq!(bench.admin().count("graphql_query"), 6);
    assert_eq!(ids(&bench.client.runners(&everything()).await.unwrap()), ids(&runners));
}

#[tokio::test]
async fn ids_are_read_in_batches_that_grow_to_what_the_complexity_allows() {
    let bench = Bench::new();
    let mut all = bench.runners(79, &["x"]);
    let gone = all.remove(30);
    bench.admin().delete_runner(gone.0);
    let wanted = by_id(all.iter().copied().chain([gone, RunnerId(99_999)]));
    assert_eq!(ids(&bench.client.runners(&wanted).await.unwrap()), all);
    let first = bench.admin().count("graphql_query");
    bench.admin().forget_requests();
    assert_eq!(ids(&bench.client.runners(&wanted).await.unwrap()), all);
    let second = bench.admin().count("graphql_query");
    assert!(second < first && second > 1, "{first}, then {second}");
    assert_eq!(bench.admin().count("get_runner"), 0);
}

#[tokio::test]
async fn a_batch_that_is_too_complex_is_halved() {
    let bench = Bench::new();
    let three = bench.runners(3, &["x"]);
    bench
        .admin()
        .fault(Fault::new(Match { body: Some("i1".to_owned()), ..graphql() }, complaint(TOO_COMPLEX)));
    assert_eq!(ids(&bench.client.runners(&by_id(three.clone())).await.unwrap()), three);
    assert_eq!(bench.admin().count("get_runner"), 0, "no need for REST");
}

#[tokio::test]
async fn a_page_that_is_too_complex_is_halved() {
    let bench = Bench::new();
    let all = bench.runners(120, &["runner-a"]);
    let large = Match { body: Some(r#""first":100\b"#.to_owned()), ..graphql() };
    bench.admin().fault(Fault::new(large, complaint(TOO_COMPLEX)).times(1));
    assert_eq!(ids(&bench.client.runners(&tagged(&["runner-a"])).await.unwrap()), all);
    let faults = bench.admin().requests().iter().filter(|r| r.fault.is_some()).count();
    // Refused, 50, and what the simulator's own numbers allow again: the other 70.
    assert_eq!((faults, bench.admin().count("graphql_query")), (1, 3));
}

#[tokio::test]
async fn a_missing_page_is_an_error_and_not_a_short_list() {
    let bench = Bench::new();
    bench.runners(150, &["runner-a"]);
    bench.admin().fault(Fault::new(graphql(), Kind::BadGateway).after(1).times(1));
    let error = bench.client.runners(&tagged(&["runner-a"])).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 502, .. }), "{error:?}");
}

#[tokio::test]
async fn trouble_of_the_moment_is_an_error_and_no_reason_for_rest() {
    let bench = Bench::new();
    bench.runner("blue", &["runner-a"]);
    let faults = [
        (Kind::BadGateway, true),
        (Kind::Unavailable, true),
        (Kind::ResetBefore, true),
        (Kind::NonJson, true),
        (Kind::TruncatedBody, true),
        (complaint("Internal server error"), true),
        (complaint("Timeout on validation of query"), true),
        (Kind::Status { status: 401, body: r#"{"errors":[{"message":"Invalid token"}]}"#.to_owned() }, false),
        (Kind::RateLimitedJsonRetryAfter { retry_after: 0 }, true),
    ];
    for (kind, transient) in faults {
        bench.admin().fault(Fault::new(graphql(), kind.clone()));
        let error = bench.client.runners(&tagged(&["runner-a"])).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{kind:?}: {error:?}");
        bench.admin().clear_faults();
    }
    assert!(bench.admin().requests().iter().all(|r| r.operation == "graphql_query"), "REST was used");
    assert_eq!(bench.client.runners(&tagged(&["runner-a"])).await.unwrap().len(), 1);
    assert_eq!(
        bench.codes("graphql_list_runners").join(" "),
        "502 503 broken 200 broken 200 200 401 429 200"
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_at_the_time_out() {
    let bench = Bench::with(Default::default(), TokenSpec::admin("switchyard", &SCOPES), |settings| {
        settings.request_timeout = std::time::Duration::from_millis(300);
    });
    for kind in [Kind::Hang, Kind::SlowBody { ms: 250 }] {
        bench.admin().fault(Fault::new(graphql(), kind));
        let error = bench.client.runners(&tagged(&["runner-a"])).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }) && error.is_transient(), "{error:?}");
        bench.admin().clear_faults();
    }
    assert_eq!(bench.codes("graphql_list_runners"), ["timeout", "timeout"]);
}

#[tokio::test]
async fn a_replica_that_lags_shows_the_past() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a", "rnd-runner"]);
    bench.admin().set_tags(blue.0, &["runner-a"]);
    bench.admin().fault(Fault::new(Match::any(), Kind::StaleReplica { writes: 1, seconds: 0 }));
    let runners = bench.client.runners(&tagged(&["rnd-runner"])).await.unwrap();
    assert_eq!(runners[0].tags, tag_set(&["rnd-runner", "runner-a"]));
    bench.admin().clear_faults();
    assert!(bench.client.runners(&tagged(&["rnd-runner"])).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_group_has_its_runners_those_above_and_those_below() {
    let bench = Bench::new();
    let top = bench.admin().create_group("acme");
    let rnd = bench.admin().create_group("acme/rnd");
    let project = bench.admin().create_project("acme/rnd/app");
    let other = bench.admin().create_group("other");
    let owned = |owner| {
        let spec = RunnerSpec::new("r", &["runner-a"]).owned_by(owner);
        RunnerId(bench.admin().create_runner(spec).id)
    };
    let visible = [owned(Owner::Group(top)), owned(Owner::Group(rnd)), owned(Owner::Projects(vec![project]))];
    owned(Owner::Group(other));

    let token = TokenSpec::user("owner", &SCOPES).in_group(top, Role::Owner);
    let group = bench.client(token.clone(), |s| s.scope = Scope::Group("acme/rnd".to_owned()));
    assert_eq!(ids(&group.runners(&tagged(&["runner-a"])).await.unwrap()), visible);
    let of_project = bench.client(token.clone(), |s| s.scope = Scope::Project("acme/rnd/app".to_owned()));
    assert_eq!(ids(&of_project.runners(&everything()).await.unwrap()), visible);

    let hidden = bench.client(token, |s| s.scope = Scope::Group("other".to_owned()));
    let error = hidden.runners(&everything()).await.unwrap_err();
    assert!(!error.is_transient());
    assert_eq!(error.to_string(), "group other does not exist or is not visible to the access token");
}

#[tokio::test]
async fn a_record_with_over_a_hundred_managers_shows_them_all() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    for n in 0..130 {
        bench.admin().heartbeat(blue.0, &format!("s_{n}"));
    }
    let runners = bench.client.runners(&tagged(&["runner-a"])).await.unwrap();
    assert_eq!(runners[0].managers.len(), 130);
}

#[tokio::test]
async fn a_tag_with_odd_characters_is_found() {
    let bench = Bench::new();
    let odd = bench.runner("odd", &["a b/ü\"&"]);
    let wanted = Wanted { tags: [tag("a b/ü\"&")].into(), ..Wanted::default() };
    assert_eq!(ids(&bench.client.runners(&wanted).await.unwrap()), [odd]);
}
