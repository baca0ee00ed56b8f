//! The simulated GitLab against what GitLab's source and documentation say, on the wire.

mod client;
mod faults;
mod files;
mod graphql;
mod jobs;
mod runners;
