//! The real program as a process: webhooks, start and end, reload, API, command line, metrics, replicas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod api;
mod certificates;
mod cli;
mod commits;
mod database;
mod ending;
mod lifecycle;
mod metrics;
mod old;
mod pair;
mod people;
mod reload;
mod replicas;
mod secrets;
mod stage;
mod standins;
mod terminal;
mod tls;
mod tokens;
mod webhook;
