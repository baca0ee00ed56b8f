//! How long a failover of 100 runners takes when every call to GitLab takes 50 ms.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    median, message, say,
    yard::{BLUE, GREEN, Yard},
};

pub(crate) const RECORDS: usize = 100;
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
pub(crate) const ROUNDS: usize = 5;

/// From the webhook's first byte to the moment when something was seen; medians.
pub(crate) struct Failover {
    /// Every record of the new cluster carries the tag in GitLab.
    pub(crate) tagged: Duration,
    /// BIND answers the new cluster's address.
    pub(crate) named: Duration,
    /// Switchyard says that all is done: the old cluster has lost the tag, too.
    pub(crate) done: Duration,
    /// Requests to GitLab, the webhook to done.
    pub(crate) requests: u64,
}

pub(crate) async fn measure(dir: &Path, binary: &Path) -> Result<Failover> {
    say(&format!("failover: starting Switchyard with {RECORDS} records in each of 2 clusters"));
    let yard = Yard::start(&dir.join("failover"), binary, RECORDS, "10s").await?;
    yard.slow_gitlab(LATENCY)?;
    let (mut tagged, mut named, mut done, mut requests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let admin = yard.gitlab.admin();
        admin.forget_requests();
        yard.evidence.blue_lives(false);
        let began = admin.now();
        let start = Instant::now();
        let (tag, name, end, ()) = tokio::try_join!(
            after(start, yard.tagged(true)),
            after(start, yard.named(GREEN)),
            after(start, yard.seen_done(GREEN, Duration::from_millis(10))),
            yard.hear(message::failover(round, began, None)),
        )?;
        let counts: Vec<(String, u64)> =
            admin.counts().into_iter().map(|(name, by)| (name, by.values().sum())).collect();
        let asked: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        say(&format!(
            "failover: round {round} of {ROUNDS}: tags {tag:.2?}, DNS {name:.2?}, done {end:.2?}; {}",
            asked.join(", ")
        ));
        tagged.push(tag);
        named.push(name);
        done.push(end);
        requests.push(counts.iter().map(|(_, count)| count).sum());

        yard.evidence.blue_lives(true);
        yard.hear(message::failover(round, began, Some(admin.now()))).await?;
        yard.switch(GREEN, BLUE).await?;
        yard.seen_done(BLUE, Duration::from_millis(50)).await?;
        yard.tagged(false).await?;
    }
    Ok(Failover {
        tagged: median(tagged)?,
        named: median(named)?,
        done: median(done)?,
        requests: median(requests)?,
    })
}

async fn after(start: Instant, seen: impl Future<Output = Result<()>>) -> Result<Duration> {
    seen.await?;
    Ok(start.elapsed())
}
