//! What is thought of objects as the real controllers left them, and what is shown of it.

mod argocd;
mod backups;
mod crds;
mod cron;
mod flux;
mod history;
mod metrics;
mod offline;
mod pods;
mod scene;
mod velero;
mod verdict;
mod words;
