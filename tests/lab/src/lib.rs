//! The laboratory of the tests and the demo.

pub mod alertmanager;
pub mod bind;
pub mod clock;
pub mod exporter;
pub mod exposition;
pub mod gitlab;
pub mod harness;
pub mod http;
pub mod kubernetes;
pub mod metric_docs;
pub mod packages;
pub mod parts;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod rules;
pub mod runner;
pub mod scene;
pub mod secrets;
pub mod server;
pub mod storm;
pub mod switchyard;
pub mod tcp;
pub mod values;
pub mod wait;
