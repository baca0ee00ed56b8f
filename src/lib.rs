//! Switchyard keeps a GitLab Runner fleet running when a Kubernetes cluster dies.
//!
//! A single binary in which Alertmanager rings a bell, a pure function decides, a pure function plans, one seam
//! acts, and the next look at the world is the proof.

pub mod model;

pub mod config;
pub mod decide;
pub mod plan;

pub mod dns;
pub mod gitlab;
pub mod store;
