//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long a test waits for something that must come: generous, because it costs nothing when it comes early.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks `probe` until it succeeds. An error means "not yet, because …": the last one is reported when `deadline` passes.
pub async fn until<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut before = None;
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let answer = match tokio::time::timeout(left.max(Duration::from_millis(100)), probe()).await {
            Ok(answer) => answer,
            // The last look may have had no time left: what the one before it saw says more.
            Err(_) => Err(before.take().unwrap_or_else(|| anyhow::anyhow!("no answer in time"))),
        };
        match answer {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error).with_context(|| format!("waited {deadline:?} in vain until {what}"));
            }
            Err(error) => {
                before = Some(error);
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
    }
}
