//! Taking over a changed configuration, or keeping the old one.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::setup::{self, Channels};
use crate::{config, http, metrics::Metrics, model::Timestamp};

/// Answers every reload request, one at a time.
pub(super) async fn run(
    file: PathBuf,
    channels: Channels,
    metrics: Arc<Metrics>,
    mut requests: mpsc::Receiver<http::Reload>,
    now: fn() -> Timestamp,
    shutdown: CancellationToken,
) -> &'static str {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = shutdown.cancelled() => None,
        };
        let Some(answer) = request else { return "reload" };
        let result = reload(&file, &channels, &metrics);
        metrics.reload_successful.set(i64::from(result.is_ok()));
        match &result {
            Ok(()) => {
                metrics.reload_success_time.set(crate::metrics::seconds(now()));
                info!(file = %file.display(), "the configuration was taken over");
            }
            Err(problems) => {
                error!(file = %file.display(), %problems, "the configuration was refused; the old one stays");
            }
        }
        let _ = answer.send(result);
    }
}

fn reload(file: &std::path::Path, channels: &Channels, metrics: &Arc<Metrics>) -> Result<(), String> {
    let config = config::load(file, std::env::vars()).map_err(|problems| problems.to_string())?;
    channels.fixed.same(&config)?;
    let built = setup::build(&config, metrics).map_err(|error| error.to_string())?;
    for warning in config.warnings() {
        warn!(path = warning.path, mend = warning.mend, "{}", warning.wrong);
    }
    channels.replace(built);
    Ok(())
}
