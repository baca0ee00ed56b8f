//! The simulated GitLab against what GitLab's source and documentation say, on the wire.
//!
//! What a simulator must have so that a failover tool can be trusted on the strength of it, and where that is shown. A
//! name without a path is a test of this target.
//!
//! | what | tests |
//! |---|---|
//! | runner records: type, owner, tags, pause, lock, protection, note, token; managers by `system_id` | `put_replaces_all_tags_and_answers_with_the_detail`, `managers_are_rows_of_their_own` |
//! | two contact clocks: row values by the cache, filters and sorts by a column of up to 55 minutes ago | `filters_use_and_and_the_database_clock` |
//! | Workhorse holds polls; a held one is no heartbeat; the queue value lives an hour; `PUT` and `runnerUpdate` change it, `runnerBulkPause` does not | `a_held_poll_is_no_heartbeat_and_a_put_ends_it`, `a_queue_value_lives_for_an_hour`, `a_bulk_unpause_does_not_wake_a_held_poll`, `a_matching_job_wakes_only_the_runners_that_may_take_it` |
//! | virtual runners, each of them dead, partitioned, slow, hung, refused, asleep or full | `a_dead_one_falls_silent_and_comes_back_as_a_new_process`, `network_failures_and_outages_count_and_put_nobody_to_sleep`, `a_slow_answer_is_counted_when_it_comes`, `a_hung_poll_leaves_everything_flat_until_its_connection_breaks`, `a_full_one_does_not_poll`, `each_is_switched_over_http_too` |
//! | an hour of sleep after three 403s and after nothing else; a reload ends it | `three_403s_are_an_hour_of_sleep_from_the_last_good_answer` |
//! | a runner's counters: `-1` without an answer, series born at 1 | `a_well_one_counts_from_one` |
//! | one blocked loop for all sections of a process | `runner_process.rs`: `one_blocked_loop_serves_all_sections`, `a_held_poll_of_one_section_blocks_the_others`, `only_the_refused_section_falls_asleep` |
//! | status: REST's `paused` hides health, GraphQL's never does; `offline` includes `stale` | `rest_status_of_a_paused_runner_hides_its_health`, `status_never_becomes_paused`, `filters_use_and_and_the_database_clock` |
//! | `PUT`: 50 tags, 255 letters, no tags without untagged jobs, at least one parameter, exclusive ones; full replacement; no compare-and-set | `put_refuses_with_gitlabs_words`, `an_old_runner_with_too_many_tags_can_be_paused`, `there_is_no_compare_and_set_on_put` |
//! | bodies of refusals: 400, 401, 403, 404, 412, 422 | `refusals_have_the_bodies_of_gitlab`, `create_and_delete`, `a_token_cannot_be_reset_on_a_row_that_is_not_valid` |
//! | scopes, and roles at runners, projects, files, variables and incidents | `scopes_decide_what_a_token_may_do`, `roles_decide_whose_runners_a_token_may_change`, `who_may_touch_files_and_variables`, `the_role_decides_what_becomes_of_an_incident` |
//! | a group's list shows ancestors only | `group_lists_show_ancestors_and_not_descendants` |
//! | creation, removal, and the projects of a runner | `create_and_delete`, `a_project_runner_serves_further_projects`, `runners_are_created_and_deleted_by_graphql`, `runners_get_and_lose_projects_by_graphql` |
//! | pages by number with their headers, which shift, without totals above 10,000 | `pages_have_gitlabs_headers_and_drop_totals_above_ten_thousand`, `pages_by_number_shift` |
//! | GraphQL: budgets of 200, 250 and 300, also for an array; 10,000 letters; depth; 100 nodes; 30 s; one alias fails alone; errors with 200 | `budgets_are_200_250_and_300`, `an_array_of_queries_shares_one_budget`, `the_cost_of_a_query_follows_gitlabs_rule`, `long_and_deep_queries_are_refused_with_200`, `pages_go_on_behind_their_cursor`, `a_graphql_query_that_takes_too_long_is_an_error_with_200`, `one_missing_alias_does_not_spoil_the_others`, `mutations_need_the_broad_scope`, `bulk_pause_takes_fifty` |
//! | 429 in three shapes | `a_rate_limit_counts_per_token_and_names_its_reset`, `bodies_are_not_always_json` |
//! | 502 and 503 in HTML, slow and cut bodies, a connection lost after the write was done | `bodies_are_not_always_json`, `a_write_can_be_done_and_its_answer_lost` |
//! | the instance away, and maintenance mode | `the_whole_instance_can_go_away_and_come_back`, `maintenance_mode_reads_and_does_not_write` |
//! | a pipeline's job waits for a runner with its tags; job rows name runner and manager | `jobs_match_by_tags_scope_protection_and_pause`, `a_pipeline_shows_which_runner_and_which_manager_ran_it` |
//! | incidents with severity and timeline; the alert endpoint with its fingerprints | `incidents_have_a_severity_and_a_timeline`, `incidents_and_alerts_are_found_again` |
//! | files with `last_commit_id` | `an_old_last_commit_id_is_refused`, `last_commit_id_is_weaker_than_it_looks`, `a_lost_race_is_another_400` |
//! | a replica that lags | `a_replica_lags_by_writes_or_seconds` |
//! | clients that were not made for it | `gitlab_clients.rs`: `python_gitlab_lists_reads_and_retags`, `gitbeaker_lists_reads_and_retags` |

mod client;
mod faults;
mod files;
mod graphql;
mod incidents;
mod jobs;
mod ownership;
mod runners;
mod virtual_runners;

/// The table above names tests that there are.
#[test]
fn every_test_of_the_checklist_exists() {
    let sources = [
        include_str!("faults.rs"),
        include_str!("files.rs"),
        include_str!("graphql.rs"),
        include_str!("incidents.rs"),
        include_str!("jobs.rs"),
        include_str!("ownership.rs"),
        include_str!("runners.rs"),
        include_str!("virtual_runners.rs"),
        include_str!("../gitlab_clients.rs"),
        include_str!("../runner_process.rs"),
    ]
    .concat();
    let rows = include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut named = 0;
    for row in rows {
        let (_, tests) = row.rsplit_once(" | `").unwrap_or_else(|| panic!("no tests: {row}"));
        for name in tests.split('`').filter(|name| name.contains('_') && !name.ends_with(".rs")) {
            assert!(sources.contains(&format!("fn {name}()")), "there is no test {name}");
            named += 1;
        }
    }
    assert!(named > 40, "the table was not found: {named}");
}
