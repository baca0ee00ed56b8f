//! What only another process can prove: this test binary starts itself again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::future::join_all;
use switchyard::{
    model::Signal,
    store::{Error, Holder, Store, Upserted},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{at, firing, open_url};

const DATABASE: &str = "SWITCHYARD_TEST_DATABASE";
const ROUND: &str = "SWITCHYARD_TEST_ROUND";
const LONG: Duration = Duration::from_secs(120);

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(shell: &str, test: &str, database: &Path, round: usize) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(DATABASE, database)
            .env(ROUND, round.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that begins with `word`, without it; none when the process ended.
    async fn next(&mut self, word: &str) -> Option<String> {
        loop {
            let line = tokio::time::timeout(LONG, self.lines.next_line()).await.unwrap().unwrap()?;
            if let Some(rest) = line.strip_prefix(word) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    async fn wait(&mut self) -> ExitStatus {
        tokio::time::timeout(LONG, self.child.wait()).await.unwrap().unwrap()
    }
}

fn told() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(DATABASE)?.into(), std::env::var(ROUND).ok()?))
}

/// One webhook message: three alerts that must be stored together or not at all.
fn message(id: &str, padding: usize) -> Vec<Signal> {
    let part = |part: u8| Signal {
        annotations: [("description".into(), "x".repeat(padding))].into(),
        ..firing(&format!("{id}/{part}"), 0, 0)
    };
    vec![part(0), part(1), part(2)]
}

async fn stored_messages(database: &Path) -> BTreeSet<String> {
    let store = open_url(&format!("sqlite://{}", database.display())).await.unwrap();
    let fingerprints: BTreeSet<String> =
        store.load(at(1)).await.unwrap().signals.into_iter().map(|s| s.key.fingerprint).collect();
    store.close().await.unwrap();
    let messages: BTreeSet<String> =
        fingerprints.iter().map(|f| f.split_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(fingerprints.len(), 3 * messages.len(), "a message is stored whole or not at all");
    messages
}

#[ignore = "started by the test of promise 5"]
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Some((database, round)) = told() else { return };
    let store = open_url(&format!("sqlite://{}", database.display())).await.unwrap();
    let writers = (0..8).map(|writer| {
        let (store, round) = (store.clone(), round.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let id = format!("{round}-{writer}-{n}");
                store.upsert_signals(message(&id, 100)).await.unwrap();
                println!("\nack {id}");
            }
        })
    });
    join_all(writers).await;
}

#[tokio::test]
async fn promise_5_every_accepted_webhook_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("switchyard.db");
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        let mut process =
            Process::start("", "processes::child_that_writes_until_it_is_killed", &database, round);
        // Each round dies at another moment.
        for _ in 0..=(round * 37) {
            acknowledged.insert(process.next("ack ").await.expect("it writes until it is killed"));
        }
        process.kill();
        while let Some(id) = process.next("ack ").await {
            acknowledged.insert(id);
        }
        assert!(!process.wait().await.success());
        let stored = stored_messages(&database).await;
        let lost: Vec<&String> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
}

#[ignore = "started by the test of the lock"]
#[tokio::test]
async fn child_that_holds_the_store() {
    let Some((database, _)) = told() else { return };
    let holder = Holder { listen: "10.1.2.3:9797".into(), now: at(5) };
    let _store =
        Store::open(&format!("sqlite://{}", database.display()), &holder, crate::TERM).await.unwrap();
    println!("\nholding {}", std::process::id());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_has_it_until_that_one_dies() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("switchyard.db");
    let mut process = Process::start("", "processes::child_that_holds_the_store", &database, 0);
    let pid = process.next("holding ").await.unwrap();

    // Under another name as well: the lock is on the file, not on its spelling.
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&database, &link).unwrap();
    for name in [&database, &link] {
        let error = open_url(&format!("sqlite://{}", name.display())).await.unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error:?}");
        let error = error.to_string();
        for part in
            [&format!("process {pid} on "), "10.1.2.3:9797", "since 2027-01-15T08:00:05Z", "switchyard.db"]
        {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    process.kill();
    process.wait().await;
    open_url(&format!("sqlite://{}", link.display())).await.unwrap().close().await.unwrap();
}

#[ignore = "started by the test of the full disk"]
#[tokio::test]
async fn child_that_runs_out_of_space() {
    let Some((database, _)) = told() else { return };
    let store = open_url(&format!("sqlite://{}", database.display())).await.unwrap();
    let mut refusals = 0;
    for n in 0..10_000 {
        match store.upsert_signals(message(&n.to_string(), 5_000)).await {
            Ok(_) => println!("\nack {n}"),
            Err(error) => {
                println!("\nrefused {} {error:?}", error.is_transient());
                refusals += 1;
            }
        }
        if refusals == 5 {
            return;
        }
    }
    panic!("the space never ran out");
}

/// The kernel refuses to let any file of the process grow beyond a megabyte.
#[tokio::test]
async fn a_full_disk_is_an_error_that_passes_and_leaves_nothing_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("switchyard.db");
    let limit = "trap '' XFSZ; ulimit -f 2048;";
    let mut process = Process::start(limit, "processes::child_that_runs_out_of_space", &database, 0);
    let mut acknowledged = BTreeSet::new();
    let mut refused = Vec::new();
    while let Some(line) = process.next("").await {
        if let Some(id) = line.strip_prefix("ack ") {
            acknowledged.insert(id.to_owned());
        } else if let Some(why) = line.strip_prefix("refused ") {
            refused.push(why.to_owned());
        }
    }
    assert!(process.wait().await.success());
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    assert_eq!(refused.len(), 5);
    assert!(refused.iter().all(|why| why.starts_with("true ")), "{refused:?}");
    let stored = stored_messages(&database).await;
    assert!(stored.is_superset(&acknowledged));
    // There is room again.
    let store = open_url(&format!("sqlite://{}", database.display())).await.unwrap();
    assert_eq!(store.upsert_signals(message("after", 5_000)).await.unwrap(), [const { Upserted::New }; 3]);
}
