//! Switchyard keeps a GitLab Runner fleet running when a Kubernetes cluster dies.
//!
//! A single binary in which Alertmanager rings a bell, a pure function decides, a pure function plans, one seam
//! acts, and the next look at the world is the proof.

pub mod model;

pub mod alert;
pub mod clock;
pub mod config;
pub mod decide;
pub mod plan;
pub mod telemetry;
pub mod transport;

pub mod alertmanager;
pub mod dns;
pub mod gitlab;
pub mod kubernetes;
pub mod prometheus;
pub mod status;
pub mod store;

pub mod metrics;
pub mod world;

pub mod exporter;
pub mod intake;
pub mod reconcile;
pub mod web;

pub mod http;
pub mod simulate;

pub mod sidecar;

pub mod app;

pub mod cli;
