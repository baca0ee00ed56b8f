//! GitLab's answers about jobs and pipelines, with a good status and with bad ones: pages, or errors in any shape.
#![no_main]

use http::HeaderMap;
use switchyard::gitlab::{Reply, read_jobs, read_pipeline, read_pipeline_jobs};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let tag = "rnd-runner".parse().expect("a tag");
    for status in [200, 403, 429] {
        let reply = match Reply::new("list_runner_jobs", status, HeaderMap::new(), data.to_vec()) {
            Ok(reply) => reply,
            Err(error) => {
                assert_ne!(status, 200, "{error}");
                // One line, of a bounded length, whatever GitLab said.
                assert!(error.to_string().chars().count() < 600 && !error.to_string().contains('\n'), "{error}");
                continue;
            }
        };
        let told = [
            read_jobs(&reply).map(|pipelines| format!("{pipelines:?}")),
            read_pipeline(&reply),
            read_pipeline_jobs(&reply, &tag).map(|(tagged, rows)| {
                assert!(!tagged || rows > 0);
                rows.to_string()
            }),
        ];
        told.into_iter().filter_map(Result::err).for_each(|error| drop((error.chain(), error.is_transient())));
    }
});
