//! A page of GitLab's runners, over GraphQL.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match switchyard::gitlab::read_page(data) {
        Ok(runners) => drop(format!("{runners:?}")),
        Err(error) => drop(error.to_string()),
    }
});
