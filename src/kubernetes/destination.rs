//! In which cluster an Argo CD application deploys: what a hub says of other clusters counts there.

use std::collections::BTreeMap;

use super::Application;

/// What Argo CD calls the cluster that it runs in.
const OWN: [&str; 2] = ["in-cluster", "https://kubernetes.default.svc"];

/// Runner clusters by what Argo CD calls them: the name of a destination, or its server's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations(BTreeMap<String, String>);

/// Where an application deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// To the cluster in which it is itself.
    Own,
    /// To this runner cluster.
    Cluster(&'a str),
    /// To a cluster of which nobody said which one it is.
    Unmapped,
}

impl Destinations {
    /// Says which runner cluster a destination is. False when it was said to be another one before.
    pub fn insert(&mut self, destination: &str, cluster: String) -> bool {
        let before = self.0.insert(plain(destination).to_owned(), cluster.clone());
        before.is_none_or(|before| before == cluster)
    }

    /// Where an application deploys.
    pub fn of(&self, app: &Application) -> Destination<'_> {
        let destination = plain(&app.cluster);
        match self.0.get(destination) {
            Some(cluster) => Destination::Cluster(cluster),
            None if destination.is_empty() || OWN.contains(&destination) => Destination::Own,
            None => Destination::Unmapped,
        }
    }

    /// The runner cluster of an application, where it is another one than its own.
    pub(super) fn elsewhere(&self, app: &Application) -> Option<&str> {
        match self.of(app) {
            Destination::Cluster(cluster) => Some(cluster),
            Destination::Own | Destination::Unmapped => None,
        }
    }
}

/// An address as it is written shortest.
fn plain(destination: &str) -> &str {
    let destination = destination.trim_end_matches('/');
    match destination.strip_suffix(":443") {
        Some(address) if address.starts_with("https://") => address,
        _ => destination,
    }
}
