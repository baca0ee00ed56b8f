//! Clients that speak the protocols, and mean harm: whatever they do, the loop keeps its period, metrics are shown and a webhook is
//! taken.

use switchyard_lab::wait::PATIENCE;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    connections::{closed_until, connect, goes_on, keeps_its_period, victim},
    stage::Stage,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET PATH` with the indexed fields of HPACK.
pub(crate) fn get(path: &str, stream: u32, flags: u8) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let block = [&[0x82, 0x86, 0x41, 1, b'x', 0x04, length], path.as_bytes()].concat();
    frame(1, flags, stream, &block)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}

pub(crate) fn settings(window: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())
}

/// Sends what `next` gives until it is cut off, reading and forgetting what comes, and begins anew.
fn flood(
    attack: &mut JoinSet<()>,
    stage: &Stage,
    window: u32,
    next: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
) {
    let address = stage.address;
    attack.spawn(async move {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let (mut reader, mut writer) = stream.split();
            let write = async {
                if writer.write_all(&[PREFACE, &settings(window)].concat()).await.is_ok() {
                    let mut number = 1;
                    while number < 1 << 30 && writer.write_all(&next(number)).await.is_ok() {
                        number += 2;
                    }
                }
            };
            let mut ignored = [0; 4096];
            let read = async { while matches!(reader.read(&mut ignored).await, Ok(1..)) {} };
            tokio::select! {
                () = write => {}
                () = read => {}
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_http2_frames_keep_nobody_out() {
    let stage = victim().await;
    let _process = stage.serve_clear(&[]).await;
    let all = END_STREAM | END_HEADERS;
    let mut attack = JoinSet::new();
    // Rapid reset; more streams than are allowed; headers without an end; pings and settings that want answers.
    flood(&mut attack, &stage, 65_535, move |number| [get("/metrics", number, all), reset(number)].concat());
    flood(&mut attack, &stage, 65_535, move |number| get("/metrics", number, END_HEADERS));
    flood(&mut attack, &stage, 65_535, move |number| match number {
        1 => get("/metrics", 1, END_STREAM),
        _ => frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'].repeat(100)),
    });
    flood(&mut attack, &stage, 65_535, |_| frame(6, 0, 0, &[0; 8]));
    flood(&mut attack, &stage, 65_535, settings);
    keeps_its_period(&stage).await;
    let memory = stage.metric("process_resident_memory_bytes", &[]).await.unwrap();
    assert!(memory < 300e6, "{memory} bytes");
    attack.shutdown().await;
    goes_on(&stage, "after").await;
}

/// A window of nothing, or of a byte, lets every answer wait for ever, while the connection itself is as lively as can be.
#[tokio::test]
async fn who_gives_its_answers_no_window_is_cut_off_and_keeps_no_place() {
    let stage = victim().await;
    let _process = stage.serve_clear(&["--web.max-connections=8", "--web.slow-timeout=2s"]).await;
    let ask = async |window| {
        let mut stream = connect(&stage).await;
        let asked = (0..50).flat_map(|n| get("/metrics", 2 * n + 1, END_STREAM | END_HEADERS));
        let asked: Vec<u8> = asked.collect();
        stream.write_all(&[PREFACE, &settings(window), &asked].concat()).await.unwrap();
        stream
    };
    for (window, cut_off) in [(0, 1.0), (1, 2.0)] {
        let mut held = ask(window).await;
        closed_until(&stage, "slow_response", cut_off).await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, held.read_to_end(&mut rest)).await.expect("it is closed");
    }

    // More of them than there are places.
    let mut many = Vec::new();
    for n in 0..24 {
        many.push(ask(n % 2).await);
    }
    keeps_its_period(&stage).await;
}

/// What a proxy could take for one request and Switchyard for two, or the other way round.
#[tokio::test]
async fn a_request_with_two_lengths_is_refused_and_ends_its_connection() {
    let stage = Stage::new().await;
    let _process = stage.serve_clear(&[]).await;
    let smuggled = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    for head in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length: 99999999999999999999999",
    ] {
        let mut stream = connect(&stage).await;
        let request = format!("POST /api/v1/pause HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{smuggled}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{head}: {answer}");
        assert!(!answer.contains("is healthy"), "{head}: {answer}");
    }
    goes_on(&stage, "after").await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_keep_nobody_out() {
    const MANY: usize = 500;
    let stage = victim().await;
    let _process = stage.serve_clear(&[]).await;
    let mut stream = connect(&stage).await;
    let (mut reader, mut writer) = stream.split();
    let pair = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let requests = pair.repeat(MANY) + last;
    let mut answers = Vec::new();
    let both = async {
        let (wrote, read) =
            tokio::join!(writer.write_all(requests.as_bytes()), reader.read_to_end(&mut answers));
        wrote.and(read).unwrap();
    };
    timeout(PATIENCE, async { tokio::join!(both, keeps_its_period(&stage)) })
        .await
        .expect("all are answered");
    let answers = String::from_utf8(answers).unwrap();
    let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, [["200", "404"].repeat(MANY), vec!["200"]].concat());
}
