//! What Alertmanager sends and what it answers to the catch-up poll, with a fleet that alerts may be about.
#![no_main]

use std::{path::Path, sync::OnceLock};

use switchyard::{
    alert::{parse_poll, parse_webhook},
    config::Config,
    model::{Timestamp, Topology},
};

fn topology() -> &'static Topology {
    static TOPOLOGY: OnceLock<Topology> = OnceLock::new();
    TOPOLOGY.get_or_init(|| {
        let text = include_str!("../corpus/configuration/fleet.toml");
        let token = ("SWITCHYARD__GITLAB__TOKEN".to_owned(), "t".to_owned());
        Config::from_toml(text, Path::new(""), [token]).expect("the seed is a good configuration").topology
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let now = Timestamp::UNIX_EPOCH;
    for parsed in [parse_webhook(data, topology(), now), parse_poll(data, topology(), now)] {
        match parsed {
            Ok(parsed) => drop(format!("{parsed:?}")),
            Err(error) => drop(error.to_string()),
        }
    }
});
