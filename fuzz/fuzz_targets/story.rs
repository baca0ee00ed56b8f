//! A story, and a configuration file that it names: after a line of dashes. A story, or a list of problems that names lines
//! which are there.
#![no_main]

use switchyard::simulate::parse_with;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (story, file) = text.split_once("\n---\n").unwrap_or((text, ""));
    match parse_with(story, |_| Ok(file.to_owned())) {
        Ok(story) => drop(format!("{story:?}")),
        Err(problems) => {
            let lines = story.lines().count().max(1);
            assert!(!problems.0.is_empty());
            assert!(problems.0.iter().all(|p| (1..=lines).contains(&p.line) && p.column > 0), "{problems}");
        }
    }
});
