//! The YAML file of `--web.config.file`. Whatever is in it: what to do, or a list of problems that holds neither key nor hash.
#![no_main]

use std::path::Path;

use serde_json::json;
use switchyard::config::read_web;

const SECRET: &str = "kQ7-never-shown";

fn said(text: &str) -> String {
    match read_web(text, Path::new("/nonexistent/web.yml")) {
        Ok(file) => format!("{file:?}"),
        Err(problems) => problems.to_string(),
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    // A file that names others would make the outcome depend on this machine.
    if text.contains("_file") {
        return;
    }
    said(text);
    // JSON is YAML: the text as what is secret, whatever it holds.
    let secret = format!("{SECRET}{text}");
    let file = json!({
        "tls_server_config": { "cert": text, "key": secret, "client_ca": text },
        "basic_auth_users": { "ali": secret },
    });
    let said = said(&file.to_string());
    assert!(text.contains(SECRET) || !said.contains(SECRET), "{said}");
});
