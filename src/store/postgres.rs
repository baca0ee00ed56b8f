//! Opening a PostgreSQL that several processes may share. All that is special to it is here and in `lease`.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AnyPool, AssertSqlSafe, ConnectOptions,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use url::Url;

use super::{
    Error, Holder,
    lease::{Keeper, Kept, Lease},
    schema::{READERS, SHOWERS, migrator},
    writer::Pools,
};

/// How long the database may take to answer at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a store URL names a PostgreSQL.
pub(super) fn is_meant(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// What a URL says: how to connect, and where to, without user and password.
fn parse(url: &str) -> Result<(AnyConnectOptions, String), Error> {
    // What does not parse may hold a password: it is not repeated.
    let unusable = |why| Error::Url { url: "postgres://…".to_owned(), why };
    let mut url = Url::parse(url).map_err(|_| unusable("it is no address"))?;
    if !url.query_pairs().any(|(key, _)| key == "application_name") {
        url.query_pairs_mut().append_pair("application_name", "switchyard");
    }
    let options =
        AnyConnectOptions::from_url(&url).map_err(|_| unusable("it has a parameter of no known value"))?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    };
    Ok((options, format!("{host}{}", url.path())))
}

/// Connects, brings the tables to this version, and begins to compete for the lease.
pub(super) async fn open(url: &str, holder: &Holder, term: Duration) -> Result<(Pools, Lease, Kept), Error> {
    let (options, place) = parse(url)?;
    sqlx::any::install_default_drivers();
    let patience = (term / 3).min(PATIENCE);
    let connect = async |size, more: &str| {
        let set_up = format!("{};{more}", session(patience, term));
        let pool = pool(options.clone(), size, patience, set_up).await;
        pool.map_err(|error| Error::Unreachable { place: place.clone(), source: Arc::new(error) })
    };
    let write = connect(1, "").await?;
    migrator().run(&write).await.map_err(|error| Error::Migrate(Arc::new(error)))?;
    // One moment for all that a read looks at.
    let one_moment = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    let read = connect(READERS, one_moment).await?;
    let show = connect(SHOWERS, one_moment).await?;
    let lease = connect(1, "").await?;
    let (lease, kept) = Keeper::start(lease, holder.name(), term);
    Ok((Pools { write, read, show, patience: Some(patience), file: false }, lease, kept))
}

/// Whether the database lets us in, and has the tables or lets us make them. Changes nothing.
pub(super) async fn check(url: &str) -> Result<(), Error> {
    let (options, place) = parse(url)?;
    sqlx::any::install_default_drivers();
    let pool = pool(options, 1, PATIENCE, session(PATIENCE, PATIENCE)).await;
    let pool = pool.map_err(|error| Error::Unreachable { place: place.clone(), source: Arc::new(error) })?;
    let may: bool = sqlx::query_scalar(
        "SELECT to_regclass('lease') IS NOT NULL OR COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)",
    )
    .fetch_one(&pool)
    .await?;
    pool.close().await;
    if may { Ok(()) } else { Err(Error::NoRights { place }) }
}

/// What every connection is told. A frozen process must not hold up the others by a transaction that it left open, and a
/// commit is on the disk before anybody is told.
fn session(patience: Duration, term: Duration) -> String {
    let (patience, idle) = (patience.as_millis(), (term / 3).as_millis());
    format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET statement_timeout = {patience}; SET idle_in_transaction_session_timeout = {idle}; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

async fn pool(
    options: AnyConnectOptions,
    size: u32,
    patience: Duration,
    set_up: String,
) -> Result<AnyPool, sqlx::Error> {
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(patience)
        // A server that was restarted is noticed here and not by somebody's write.
        .test_before_acquire(true)
        .after_connect(move |conn, _| {
            let set_up = set_up.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(set_up)).execute(conn).await?;
                Ok(())
            })
        });
    pool.connect_with(options).await
}
