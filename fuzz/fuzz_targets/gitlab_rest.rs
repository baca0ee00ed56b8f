//! GitLab's answer about one runner, over REST.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match switchyard::gitlab::read_runner(data) {
        Ok(runner) => drop(format!("{runner:?}")),
        Err(error) => drop(error.to_string()),
    }
});
