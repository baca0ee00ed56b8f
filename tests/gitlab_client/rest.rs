//! Reading over REST, when GraphQL is refused.

use switchyard::{
    gitlab::{Error, Scope},
    model::RunnerId,
};
use switchyard_lab::gitlab::{Config, Fault, GraphqlMode, Kind, Match, Owner, Role, RunnerSpec, TokenSpec};

use crate::{Bench, SCOPES, by_id, everything, ids, tagged};

fn without_graphql() -> Bench {
    let config = Config { graphql: GraphqlMode::Off(404), ..Config::default() };
    Bench::with(config, TokenSpec::admin("switchyard", &SCOPES), |_| {})
}

#[tokio::test]
async fn a_refusal_of_graphql_leads_to_rest_with_the_same_records_and_is_remembered() {
    let refusals = [
        Kind::Status { status: 404, body: r#"{"message":"404 Not Found"}"#.to_owned() },
        Kind::Forbidden,
        Kind::Status {
            status: 200,
            body:
                r#"{"errors":[{"message":"Query has complexity of 300, which exceeds max complexity of 1"}]}"#
                    .to_owned(),
        },
        Kind::Status {
            status: 200,
            body: r#"{"errors":[{"message":"Field 'managers' doesn't exist on type 'CiRunner'"}]}"#
                .to_owned(),
        },
    ];
    for kind in refusals {
        let bench = Bench::new();
        let blue = bench.runner("blue", &["runner-a", "rnd-runner"]);
        let paused = RunnerSpec { paused: true, ..RunnerSpec::new("parked", &["runner-b"]) };
        let parked = RunnerId(bench.admin().create_runner(paused).id);
        bench.runner("other", &["x"]);
        bench.admin().heartbeat(blue.0, "s_one");
        bench.admin().heartbeat(parked.0, "s_two");
        let mut wanted = tagged(&["runner-a", "runner-b", "rnd-runner"]);
        wanted.ids = [parked, RunnerId(4711)].into();

        let mut over_graphql = bench.client.runners(&wanted).await.unwrap();
        bench.admin().fault(Fault::new(Match::operation("graphql"), kind.clone()));
        let mut over_rest = bench.client.runners(&wanted).await.unwrap();
        // REST shows milliseconds, GraphQL seconds.
        for runner in over_graphql.iter_mut().chain(&mut over_rest) {
            runner.contacted_at = None;
            runner.managers.iter_mut().for_each(|m| m.contacted_at = None);
        }
        assert_eq!(over_rest, over_graphql, "{kind:?}");
        assert_eq!(ids(&over_rest), [blue, parked]);

        bench.admin().clear_faults();
        bench.events.lock().unwrap().clear();
        bench.client.runners(&wanted).await.unwrap();
        let events = bench.events.lock().unwrap();
        assert!(events.iter().all(|e| !e.operation.starts_with("graphql")), "{kind:?}: {events:?}");
    }
}

#[tokio::test]
async fn rest_lists_longer_than_a_page_come_whole_and_without_doubles() {
    let bench = without_graphql();
    let both = bench.runners(150, &["runner-a", "rnd-runner"]);
    let one = bench.runners(60, &["rnd-runner"]);
    let runners = bench.client.runners(&tagged(&["runner-a", "rnd-runner"])).await.unwrap();
    assert_eq!(ids(&runners), [both, one].concat());
    assert!(runners.iter().all(|r| !r.tags.is_empty() && r.contacted_at.is_none()));
    let admin = bench.admin();
    assert_eq!(
        (admin.count("list_all_runners"), admin.count("get_runner"), admin.count("list_runner_managers")),
        (5, 210, 210)
    );
    assert_eq!(bench.client.runners(&everything()).await.unwrap(), runners);
}

#[tokio::test]
async fn a_list_that_changes_under_the_reader_is_read_anew_and_never_short() {
    let bench = without_graphql();
    let mut all = bench.runners(150, &["runner-a"]);
    bench.admin().delete_runner(all.remove(20).0);
    let second_page =
        || Match { path: Some("[?&]page=2".to_owned()), ..Match::operation("list_all_runners") };
    let lag = || Kind::StaleReplica { writes: 1, seconds: 0 };
    bench.admin().fault(Fault::new(second_page(), lag()).times(1));
    assert_eq!(ids(&bench.client.runners(&tagged(&["runner-a"])).await.unwrap()), all);
    assert_eq!(bench.admin().count("list_all_runners"), 4);

    bench.admin().fault(Fault::new(second_page(), lag()));
    let error = bench.client.runners(&tagged(&["runner-a"])).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_missing_rest_page_or_record_is_an_error() {
    let bench = without_graphql();
    bench.runners(120, &["runner-a"]);
    for matches in [
        Match { path: Some("[?&]page=2".to_owned()), ..Match::operation("list_all_runners") },
        Match::operation("get_runner"),
        Match::operation("list_runner_managers"),
    ] {
        for kind in [Kind::BadGateway, Kind::Forbidden, Kind::ResetBefore, Kind::NonJson] {
            bench.admin().fault(Fault::new(matches.clone(), kind.clone()));
            let error = bench.client.runners(&tagged(&["runner-a"])).await.unwrap_err();
            assert_eq!(error.is_transient(), kind != Kind::Forbidden, "{matches:?} {kind:?} {error:?}");
            bench.admin().clear_faults();
        }
    }
}

#[tokio::test]
async fn a_record_that_vanishes_while_it_is_read_is_absent() {
    let bench = without_graphql();
    let mut all = bench.runners(3, &["runner-a"]);
    let gone = all.remove(1);
    let path = format!("/runners/{gone}[?]");
    let kind = Kind::Status { status: 404, body: r#"{"message":"404 Runner Not Found"}"#.to_owned() };
    bench.admin().fault(Fault::new(Match::path("GET", &path), kind));
    assert_eq!(ids(&bench.client.runners(&tagged(&["runner-a"])).await.unwrap()), all);
    assert_eq!(ids(&bench.client.runners(&by_id([gone, all[0]])).await.unwrap()), [all[0]]);
}

/// Absent means that GitLab says so. A proxy that lost its GitLab says 404 to everything.
#[tokio::test]
async fn a_404_of_somebody_else_makes_nothing_absent() {
    let bench = without_graphql();
    let all = bench.runners(3, &["runner-a"]);
    let kind = Kind::Status { status: 404, body: "default backend - 404".to_owned() };
    bench.admin().fault(Fault::new(Match::any(), kind));
    for wanted in [by_id(all), tagged(&["runner-a"])] {
        let error = bench.client.runners(&wanted).await.unwrap_err();
        assert!(matches!(error, Error::Status { status: 404, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn what_graphql_showed_below_a_group_is_not_lost_over_rest() {
    let bench = Bench::new();
    let group = bench.admin().create_group("acme");
    let project = bench.admin().create_project("acme/app");
    let spec = |owner| RunnerSpec::new("r", &["runner-a"]).owned_by(owner);
    let own = RunnerId(bench.admin().create_runner(spec(Owner::Group(group))).id);
    let below = RunnerId(bench.admin().create_runner(spec(Owner::Projects(vec![project]))).id);
    let token = TokenSpec::user("owner", &SCOPES).in_group(group, Role::Owner);
    let client = bench.client(token, |s| s.scope = Scope::Group("acme".to_owned()));

    assert_eq!(ids(&client.runners(&tagged(&["runner-a"])).await.unwrap()), [own, below]);
    bench.admin().graphql(GraphqlMode::Off(403));
    assert_eq!(ids(&client.runners(&tagged(&["runner-a"])).await.unwrap()), [own, below]);
    // It is looked at anew: without the tag it is not wanted any more.
    bench.admin().set_tags(below.0, &["x"]);
    assert_eq!(ids(&client.runners(&tagged(&["runner-a"])).await.unwrap()), [own]);
}

/// Nobody has seen what is below the group, and REST does not show it: an old holder there would keep its tag unseen.
#[tokio::test]
async fn a_group_that_was_never_read_over_graphql_is_not_taken_for_read() {
    let bench = without_graphql();
    let group = bench.admin().create_group("acme");
    let spec = RunnerSpec::new("r", &["runner-a"]).owned_by(Owner::Group(group));
    let own = RunnerId(bench.admin().create_runner(spec).id);
    let token = || TokenSpec::user("owner", &SCOPES).in_group(group, Role::Owner);
    let client = bench.client(token(), |s| s.scope = Scope::Group("acme".to_owned()));
    let error = client.runners(&tagged(&["runner-a"])).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error:?}");
    assert!(
        error.to_string().contains("REST leaves out what is below group acme: allow /api/graphql"),
        "{error}"
    );
    // Those that are chosen by their numbers are asked for one by one.
    assert_eq!(ids(&client.runners(&by_id([own])).await.unwrap()), [own]);
    bench.admin().graphql(GraphqlMode::default());
    let client = bench.client(token(), |s| s.scope = Scope::Group("acme".to_owned()));
    assert_eq!(ids(&client.runners(&tagged(&["runner-a"])).await.unwrap()), [own]);
}

#[tokio::test]
async fn without_rights_neither_way_works_and_the_error_says_so() {
    let bench = Bench::new();
    let client = bench.client(TokenSpec::user("nobody", &SCOPES), |_| {});
    let error = client.runners(&everything()).await.unwrap_err();
    assert!(!error.is_transient());
    assert_eq!(error.to_string(), "listing the runners: GitLab answered 403: 403 Forbidden");
    assert_eq!(bench.admin().count("graphql_query"), 1);
}
