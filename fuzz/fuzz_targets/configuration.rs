//! The TOML file. Whatever is in it: a configuration, or a list of problems that never holds the secret.
#![no_main]

use std::path::Path;

use switchyard::config::Config;

const SECRET: &str = "kQ7-never-shown";

libfuzzer_sys::fuzz_target!(|text: &str| {
    // A file that names others would make the outcome depend on this machine.
    if text.contains("_file") {
        return;
    }
    let token = ("SWITCHYARD__GITLAB__TOKEN".to_owned(), SECRET.to_owned());
    let said = match Config::from_toml(text, Path::new("/nonexistent"), [token]) {
        Ok(config) => format!("{config:?}"),
        Err(problems) => problems.to_string(),
    };
    assert!(text.contains(SECRET) || !said.contains(SECRET), "{said}");
});
