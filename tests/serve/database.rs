//! TLS to the database: a real PostgreSQL that takes connections in no other way.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use switchyard_lab::{
    parts::or_skip,
    postgres::{Postgres, Tls},
};

use crate::{
    certificates::Authority,
    stage::{Stage, ended},
};

struct Database {
    stage: Stage,
    server: Postgres,
    /// As the laboratory reaches it.
    url: String,
}

impl Database {
    /// Its certificate is for `localhost`, and for no address. `ca.crt` and the client's certificate are beside the
    /// configuration.
    async fn new() -> Option<Self> {
        let (authority, other) = (Authority::new(), Authority::new());
        let own = authority.sign(&["localhost"]);
        let tls = Tls { certificate: own.certificate, key: own.key, clients: authority.pem() };
        let server = or_skip(Postgres::start_with_tls(&tls).await)?;
        let url = server.database().await.unwrap();
        let stage = Stage::new().await;
        stage.secret("ca.crt", &authority.pem());
        stage.secret("other.crt", &other.pem());
        stage.secret("empty.crt", "");
        authority.sign_client("certified").write(&stage, "client");
        Some(Self { stage, server, url })
    }

    /// Lets Switchyard find it at `host`, with these parameters.
    fn point(&mut self, user: &str, host: &str, parameters: &str) {
        let (port, name) = (self.server.address().port(), self.url.rsplit('/').next().unwrap());
        let url = format!("postgres://{user}@{host}:{port}/{name}?{parameters}");
        self.stage.settings["store"] = json!({ "url": url });
        self.stage.configure();
    }

    /// How many connections of Switchyard there are, and whether all are encrypted.
    async fn encrypted(&self) -> (i64, bool) {
        let mut sql = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_as(
            "SELECT count(*), COALESCE(bool_and(ssl), false) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
             WHERE application_name = 'switchyard'",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn a_database_is_believed_by_its_authority_and_its_name() {
    let Some(mut database) = Database::new().await else { return };
    let mut sql = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("CREATE ROLE certified LOGIN SUPERUSER").execute(&mut sql).await.unwrap();
    let trusting = "sslmode=verify-full&sslrootcert=ca.crt";
    let with_client = format!("{trusting}&sslcert=client.crt&sslkey=client.key");
    for (user, host, parameters) in [
        ("switchyard", "localhost", trusting),
        ("certified", "localhost", &with_client),
        // Whoever asks for less gets less.
        ("switchyard", "127.0.0.1", "sslmode=verify-ca&sslrootcert=ca.crt"),
        ("switchyard", "127.0.0.1", "sslmode=require"),
    ] {
        database.point(user, host, parameters);
        let said = database.stage.cli(&["check"]).await;
        let wanted = "ok      store.url: can be opened";
        assert!(said.code == 0 && said.stdout.contains(wanted), "{user} {host} {parameters}: {said:?}");
    }
    database.point("switchyard", "localhost", trusting);
    let _switchyard = database.stage.serve_clear(&[]).await;
    let (connections, all) = database.encrypted().await;
    assert!(connections >= 2 && all, "{connections} connections, all encrypted: {all}");
}

#[tokio::test]
async fn a_database_that_is_not_the_right_one_is_refused_and_so_is_clear_text() {
    let Some(mut database) = Database::new().await else { return };
    for (user, host, parameters, why) in [
        (
            "switchyard",
            "localhost",
            "sslmode=verify-full&sslrootcert=other.crt",
            "name the authority's file as sslrootcert",
        ),
        ("switchyard", "localhost", "sslmode=verify-full", "name the authority's file as sslrootcert"),
        (
            "switchyard",
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=ca.crt",
            "use a name of the certificate as the host",
        ),
        (
            "switchyard",
            "localhost",
            "sslmode=disable",
            "takes no connections in clear text: say sslmode=verify-full",
        ),
        (
            "certified",
            "localhost",
            "sslmode=verify-full&sslrootcert=ca.crt",
            "requires a valid client certificate",
        ),
    ] {
        database.point(user, host, parameters);
        let what = format!("cannot open the database {host}:{}/", database.server.address().port());
        let said = database.stage.cli(&["check"]).await;
        let line = said.stdout.lines().find(|line| line.contains("store.url")).unwrap_or_default();
        assert_eq!(said.code, 1, "{said:?}");
        assert!(line.starts_with("ERROR   store.url: ") && line.contains(&what), "{parameters}: {line}");
        assert!(line.contains(why), "{parameters}: {line}");
        let config = database.stage.dir().join("switchyard.toml");
        let args =
            ["serve", "--config.file", config.to_str().unwrap(), "--web.listen-address", "127.0.0.1:0"];
        let mut process = database.stage.launch("refused", &args);
        assert_eq!(ended(&mut process).await, 1, "{}", process.tail());
        let log = database.stage.log("refused");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("switchyard: the store does not open: ") && last.contains(&what), "{last}");
        assert!(last.contains(why), "{last}");
    }
    assert_eq!(database.encrypted().await.0, 0);

    // What is wrong before anybody is asked.
    for (parameters, wrong) in [
        ("sslmode=verify-full&sslrootcert=nowhere.crt", "sslrootcert: cannot read "),
        ("sslmode=verify-full&sslrootcert=empty.crt", "empty.crt is not PEM"),
        ("sslmode=verify-full&sslcert=client.crt", "only one of sslcert and sslkey"),
        ("sslmode=verify-full&sslkey=-----BEGIN%20KEY&sslcert=client.crt", "holds PEM as its sslkey"),
    ] {
        database.point("switchyard", "localhost", parameters);
        let said = database.stage.cli(&["check", "--offline"]).await;
        assert!(said.code == 2 && said.stdout.contains("ERROR   store.url"), "{parameters}: {said:?}");
        assert!(said.stdout.contains(wrong), "{parameters}: {said:?}");
    }
}
