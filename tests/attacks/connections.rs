//! Clients that mean harm: whatever they do, the loop keeps its period and a webhook is taken.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use switchyard_lab::{
    exposition::Page,
    parts::{Missing, or_skip},
    wait::{PATIENCE, until},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::stage::{API_TOKEN, Stage, WEBHOOK_TOKEN, alert, message};

/// Of the loop under attack. A pass takes a hundredth of it, so one is missed only when the attack takes what the loop needs.
const PERIOD: Duration = Duration::from_secs(5);

/// What is to be attacked.
pub(crate) async fn victim() -> Stage {
    let mut stage = Stage::new().await;
    stage.settings["loop"]["period"] = format!("{PERIOD:?}").into();
    stage
}

/// An alert is taken and stored, and the loop looks at it.
pub(crate) async fn goes_on(stage: &Stage, fingerprint: &str) {
    let before = passes(stage).await;
    let told = stage.alert(&message(&[alert(fingerprint, "failback", "green", None)])).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(stage.signals().await.iter().any(|(name, _)| name == fingerprint));
    until(PATIENCE, "another pass", async || {
        ensure!(passes(stage).await > before);
        Ok(())
    })
    .await
    .unwrap();
}

/// The same while an attack lasts; and since the program began, no period of the loop went by without a pass.
pub(crate) async fn keeps_its_period(stage: &Stage) {
    let began = Instant::now();
    let before = passes(stage).await;
    goes_on(stage, "during").await;
    until(PATIENCE, "passes go by", async || {
        let now = passes(stage).await;
        ensure!(began.elapsed() >= 2 * PERIOD && now >= before + 3.0, "{now} of {before} + 3");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.metric("switchyard_periods_missed_total", &[]).await, Some(0.0));
}

pub(crate) async fn passes(stage: &Stage) -> f64 {
    stage.metric("switchyard_passes_total", &[]).await.unwrap()
}

/// Sends a beginning, and more of the same as long as it is taken; then anew, for ever.
fn again_and_again(attack: &mut JoinSet<()>, stage: &Stage, start: String, more: String, pause: Duration) {
    let address = stage.address;
    attack.spawn(async move {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let (mut reader, mut writer) = stream.split();
            let mut taken = writer.write_all(start.as_bytes()).await;
            while !more.is_empty() && taken.is_ok() {
                tokio::time::sleep(pause).await;
                taken = writer.write_all(more.as_bytes()).await;
            }
            let _ = reader.read_to_end(&mut Vec::new()).await;
        }
    });
}

pub(crate) async fn connect(stage: &Stage) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(stage.address)).await.unwrap().unwrap()
}

async fn closed(stage: &Stage, reason: &str) -> f64 {
    stage.metric("switchyard_web_connections_closed_total", &[("reason", reason)]).await.unwrap_or(0.0)
}

pub(crate) async fn closed_until(stage: &Stage, reason: &str, at_least: f64) {
    until(PATIENCE, &format!("{at_least} connections are closed: {reason}"), async || {
        let count = closed(stage, reason).await;
        ensure!(count >= at_least, "{count}");
        Ok(())
    })
    .await
    .unwrap();
}

/// A connection of its own from another address of this machine: what a scraper on another machine would have.
struct Neighbour(TcpStream);

impl Neighbour {
    async fn connect(to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        Self(socket.connect(to).await.unwrap())
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|l| l.strip_prefix("content-length: ")).context("no length")?;
                if body.len() >= length.parse()? {
                    return Ok(body.to_owned());
                }
            }
            ensure!(self.0.read_buf(&mut answer).await? > 0, "closed after {text:?}");
        }
    }
}

/// As many files for this process as it may have, and whether those are enough.
fn files(wanted: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let enough = limit.maximum.is_none_or(|files| files >= wanted);
    let missing = || Missing { part: format!("the right to {wanted} open files"), mend: "ulimit -Hn 20000" };
    or_skip(if enough { Ok(()) } else { Err(missing().into()) }).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris_finds_no_place_to_stay() {
    let stage = victim().await;
    let _process = stage.serve_clear(&["--web.max-connections=64", "--web.slow-timeout=2s"]).await;
    let mut attack = JoinSet::new();
    // A head that never ends, a few bytes at a time; when it is cut off, the next one.
    let head = "POST /api/v1/alerts HTTP/1.1\r\nHost: switchyard\r\n";
    for _ in 0..100 {
        again_and_again(
            &mut attack,
            &stage,
            head.to_owned(),
            "X-a: b\r\n".to_owned(),
            Duration::from_millis(100),
        );
    }
    closed_until(&stage, "evicted", 100.0).await;
    keeps_its_period(&stage).await;
    attack.shutdown().await;

    // Few of them, so that nobody needs their place: the time limit alone ends them.
    let before = closed(&stage, "slow_request").await;
    let mut few = Vec::new();
    for head in ["", "P", "GET / HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect(&stage).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        few.push(stream);
    }
    // The second request of a connection, too.
    let mut second = Neighbour::connect(stage.address).await;
    second.get("/-/healthy").await.unwrap();
    second.0.write_all(b"GET ").await.unwrap();
    few.push(second.0);
    closed_until(&stage, "slow_request", before + 5.0).await;
    for stream in &mut few {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
    }
}

#[tokio::test]
async fn who_does_not_take_its_answers_is_cut_off() {
    let stage = Stage::new().await;
    let _process = stage.serve_clear(&["--web.slow-timeout=1s"]).await;
    let mut stream = connect(&stage).await;
    let (mut unread, mut writer) = stream.split();
    let ask = async { while writer.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {} };
    tokio::select! {
        () = ask => {}
        () = closed_until(&stage, "slow_response", 1.0) => {}
    }
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, unread.read_to_end(&mut rest)).await.expect("it is closed");
    goes_on(&stage, "after").await;
}

#[tokio::test]
async fn huge_heads_and_bodies_are_refused_and_not_kept() {
    let stage = victim().await;
    let _process = stage.serve_clear(&[]).await;
    let (mut attack, mut endless) = (JoinSet::new(), JoinSet::new());
    let bearer = format!("Authorization: Bearer {WEBHOOK_TOKEN}\r\n");
    for (start, more, wanted) in [
        // One endless header, and endlessly many.
        ("GET / HTTP/1.1\r\nX-a: ".to_owned(), "a".repeat(4096), "431"),
        ("GET / HTTP/1.1\r\n".to_owned(), "X-a: b\r\n".repeat(100), "431"),
        ("GET /".to_owned(), "a".repeat(4096), "4"),
        // Bodies without an end: with the right token, without one, and where none is expected.
        (
            format!("POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\n{bearer}Transfer-Encoding: chunked\r\n\r\n"),
            format!("1000\r\n{}\r\n", " ".repeat(4096)),
            "413",
        ),
        (
            format!(
                "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: 1000000000000\r\n\r\n"
            ),
            " ".repeat(4096),
            "413",
        ),
        (
            "POST /api/v1/pause HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            format!("1000\r\n{}\r\n", " ".repeat(4096)),
            "401",
        ),
        (
            format!(
                "POST /api/v1/pause HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\n\
                 Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            format!("1000\r\n{}\r\n", " ".repeat(4096)),
            "413",
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            format!("1000\r\n{}\r\n", " ".repeat(4096)),
            "200",
        ),
    ] {
        let address = stage.address;
        again_and_again(&mut endless, &stage, start.clone(), more.clone(), Duration::ZERO);
        attack.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let mut answer = vec![0; 12];
            let read = async {
                // A reset may overtake the answer; either way it is over.
                if reader.read_exact(&mut answer).await.is_ok() {
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    assert!(text.starts_with(&format!("HTTP/1.1 {wanted}")), "{start}: {text}");
                }
            };
            // Goes on when the answer is there: the connection must end.
            let write = async { while writer.write_all(more.as_bytes()).await.is_ok() {} };
            timeout(PATIENCE, async { tokio::join!(read, write) }).await.expect("the connection is closed");
        });
    }
    keeps_its_period(&stage).await;
    while let Some(ended) = attack.join_next().await {
        ended.unwrap();
    }
    let memory = stage.metric("process_resident_memory_bytes", &[]).await.unwrap();
    assert!(memory < 300e6, "{memory} bytes");
    endless.shutdown().await;
    goes_on(&stage, "after").await;
}

#[tokio::test]
async fn deep_json_is_refused() {
    let stage = victim().await;
    let _process = stage.serve_clear(&[]).await;
    let mut attack = JoinSet::new();
    let deep =
        |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let firing = message(&[alert("f", "failback", "green", None)]);
    for levels in [200, 10_000] {
        for value in [deep("[", "]", levels), deep("{\"a\":", "}", levels), "[".repeat(levels)] {
            // As the whole message, and where a reader that skips what it does not know would find it.
            let inside = firing.to_string().replacen('{', &format!("{{\"commonLabels\":{value},"), 1);
            for body in [value.clone(), inside] {
                let request = format!(
                    "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WEBHOOK_TOKEN}\r\n\
                     Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                again_and_again(&mut attack, &stage, request, String::new(), Duration::ZERO);
                let told =
                    stage.send(reqwest::Method::POST, "/api/v1/alerts", WEBHOOK_TOKEN, body.into()).await;
                assert_eq!(told.unwrap().status, 400, "{levels}");
            }
            let acted = stage.send(reqwest::Method::POST, "/api/v1/pause", API_TOKEN, value.into()).await;
            assert_eq!(acted.unwrap().status, 400, "{levels}");
        }
    }
    keeps_its_period(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_held_and_the_loop_goes_on() {
    const MANY: usize = 10_000;
    if !files(MANY as u64 + 1_000) {
        return;
    }
    let stage = victim().await;
    let _process = stage.serve_clear(&["--web.max-connections=12000", "--web.slow-timeout=10m"]).await;
    let mut held = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        held.push(connect(&stage).await);
    }
    until(PATIENCE, "all are taken", async || {
        let open = stage.metric("switchyard_web_connections", &[]).await;
        ensure!(open >= Some(MANY as f64), "{open:?}");
        Ok(())
    })
    .await
    .unwrap();
    keeps_its_period(&stage).await;
    assert_eq!(closed(&stage, "evicted").await, 0.0);
    let memory = stage.metric("process_resident_memory_bytes", &[]).await.unwrap();
    assert!(memory < 500e6, "{memory} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_turns_out_its_own_and_not_a_neighbour() {
    const FLOOD: usize = 3_000;
    if !files(FLOOD as u64 + 1_000) {
        return;
    }
    let stage = victim().await;
    // Long enough that none of them goes for another reason, however slowly they come.
    let _process = stage.serve_clear(&["--web.slow-timeout=10m", "--web.idle-timeout=10m"]).await;
    let mut neighbour = Neighbour::connect(stage.address).await;
    assert_eq!(neighbour.get("/-/healthy").await.unwrap(), "Switchyard is healthy.\n");
    let mut held = Vec::with_capacity(FLOOD);
    for _ in 0..FLOOD {
        held.push(connect(&stage).await);
    }
    closed_until(&stage, "evicted", (FLOOD - 512) as f64).await;
    keeps_its_period(&stage).await;
    let page = Page::parse(&neighbour.get("/metrics").await.expect("the neighbour's connection has lived"));
    assert!(page.value("switchyard_web_connections", &[]).unwrap() <= 512.0);
}

#[tokio::test]
async fn a_client_that_waits_too_long_between_requests_is_sent_away() {
    let stage = Stage::new().await;
    let _process = stage.serve_clear(&["--web.idle-timeout=1s"]).await;
    let mut patient = Neighbour::connect(stage.address).await;
    patient.get("/-/healthy").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, patient.0.read_to_end(&mut rest)).await.expect("it is closed").unwrap();
    assert!(rest.is_empty());
    closed_until(&stage, "idle", 1.0).await;
}

#[tokio::test]
async fn no_file_left_for_a_connection_ends_nothing() {
    let stage = Stage::new().await;
    let process = stage.serve_clear(&[]).await;
    let pid = Pid::from_raw(process.id());
    let mut neighbour = Neighbour::connect(stage.address).await;
    let before = Page::parse(&neighbour.get("/metrics").await.unwrap());
    assert_eq!(before.value("switchyard_web_accept_errors_total", &[]), Some(0.0));
    let open = before.value("process_open_fds", &[]).unwrap() as u64;
    let was = getrlimit(Resource::Nofile);
    let tight = Rlimit { current: Some(open + 4), maximum: was.maximum };
    let whole = prlimit(pid, Resource::Nofile, tight).unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(connect(&stage).await);
    }
    until(PATIENCE, "the system refuses connections, and that is counted", async || {
        // The neighbour's own connection is the newest of its address, and the only one.
        let page = Page::parse(&neighbour.get("/metrics").await?);
        ensure!(page.value("switchyard_web_accept_errors_total", &[]) > Some(0.0));
        Ok(())
    })
    .await
    .unwrap();
    prlimit(pid, Resource::Nofile, whole).unwrap();
    goes_on(&stage, "after").await;
    assert!(stage.log("switchyard").contains("too many files may be open"));
}

#[tokio::test]
async fn fewer_files_than_connections_are_said_and_kept_to() {
    let stage = victim().await;
    stage.configure();
    let config = stage.dir().join("switchyard.toml");
    // Both limits, so that the program cannot raise them.
    let command = format!(
        "ulimit -n 300; exec {} serve --config.file {} --web.listen-address {}",
        crate::stage::BINARY,
        config.display(),
        stage.address
    );
    let _process = switchyard_lab::process::Program::new("switchyard", "/bin/sh")
        .args(["-c", &command])
        .start(stage.dir())
        .unwrap();
    stage.fleet_until("it runs", |_| true).await;
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(connect(&stage).await);
    }
    keeps_its_period(&stage).await;
    assert_eq!(
        stage.metric("switchyard_web_accept_errors_total", &[]).await,
        Some(0.0),
        "files were left over"
    );
    assert!(stage.metric("switchyard_web_connections", &[]).await <= Some(44.0));
    assert!(stage.log("switchyard").contains("fewer connections than --web.max-connections"));
}
