//! What comes over the wire instead of a page: only silence is death.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use switchyard::{
    model::SignedDuration,
    sidecar::{self, Judgement, Limits, Runner, State},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::at;

const PAGE: &str = "gitlab_runner_concurrent 1\n\
                    gitlab_runner_api_request_statuses_total{endpoint=\"request_job\",runner=\"abc\",status=\"204\"} 1234\n";

/// What is sent, and whether the connection is closed after it or goes on without a word.
type Answer = (Vec<u8>, End);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Open,
}

/// Somebody who accepts connections, and gives each request the answer that is set.
async fn somebody(answer: Answer) -> Result<(SocketAddr, Arc<Mutex<Answer>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Arc::new(Mutex::new(answer));
    let shared = Arc::clone(&answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (bytes, end) = shared.lock().expect("nobody broke it").clone();
            tokio::spawn(async move { reply(stream, &bytes, end).await });
        }
    });
    Ok((address, answer))
}

async fn reply(mut stream: TcpStream, bytes: &[u8], end: End) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    stream.write_all(bytes).await?;
    stream.flush().await?;
    if end == End::Open {
        // Until the other side goes.
        while stream.read(&mut request).await? > 0 {}
    }
    Ok(())
}

fn http(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{headers}\r\n{body}").into_bytes()
}

fn runner(address: SocketAddr, timeout: SignedDuration, tries: u32) -> Result<Runner> {
    let limits = Limits { timeout, tries, ..Limits::default() };
    Ok(Runner::new(&format!("http://{address}/metrics").parse()?, limits)?)
}

/// Looks with nothing before them.
async fn looks(runner: &Runner, count: u32) -> Result<Judgement> {
    let dir = tempfile::tempdir()?;
    let mut judged = None;
    for second in 0..count.into() {
        judged = Some(sidecar::probe(runner, &dir.path().join("state.json"), at(100 + second)).await?);
    }
    Ok(judged.expect("a look at least"))
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test]
async fn who_answers_badly_is_there() -> Result<()> {
    let length = |add: usize| format!("Content-Length: {}\r\n", PAGE.len() + add);
    let chunk = |end: &str| format!("{:x}\r\n{PAGE}\r\n{end}", PAGE.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let long = "# nothing\n".repeat(500_000);
    let (address, answer) = somebody((http(&length(0), PAGE), End::Closed)).await?;
    // It looks.
    let judged = looks(&runner(address, MINUTE, 1)?, 1).await?;
    assert_eq!(judged.state, State::Unknown, "{}", judged.sentence);
    assert!(judged.sections.contains_key("abc"), "the page was read: {judged:?}");

    for (bytes, said) in [
        // Breaks off within the length that was announced.
        (http(&length(1), PAGE), "a page began, and then: the connection broke"),
        (http(&length(1), ""), "a page began, and then: the connection broke"),
        (http(chunked, &chunk("")), "a page began, and then: the connection broke"),
        // Without an announced length, the end of the connection is the end of the page.
        (http("Connection: close\r\n", &PAGE[..PAGE.len() - 3]), "breaks off in its last line"),
        (http("Connection: close\r\n", &PAGE[..PAGE.len() - 6]), "line 2 is not in Prometheus' text format"),
        (http("Connection: close\r\n", ""), "no series of a gitlab-runner"),
        (http("Connection: close\r\n", &long), "longer than"),
        // Closed without a word; TLS; something else.
        (Vec::new(), "the connection broke"),
        (b"\x15\x03\x01\x00\x02\x02\x46".to_vec(), "the connection broke"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "the connection broke"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec(), "answered 500"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 10\r\n\r\n".to_vec(), "answered 401"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(), "answered 302"),
    ] {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        *answer.lock().expect("nobody broke it") = (bytes, End::Closed);
        // One silence would be death.
        let judged = looks(&runner(address, MINUTE, 1)?, 3).await?;
        assert_eq!(judged.state, State::Unknown, "{}: {what:?}", judged.sentence);
        assert!(judged.state.live() && !judged.state.ready());
        assert!(judged.sentence.contains(said), "{}: {what:?}", judged.sentence);
    }
    Ok(())
}

/// The page of a machine that is short of processor time is no death as soon as it has begun.
#[tokio::test]
async fn a_page_that_begins_and_does_not_end_in_time_is_no_death() -> Result<()> {
    let begun = [http("Content-Length: 100000\r\n", PAGE), http("Transfer-Encoding: chunked\r\n", "")];
    for bytes in begun {
        let (address, _) = somebody((bytes, End::Open)).await?;
        // On a machine on which even the beginning takes longer, it is asked again with more patience.
        let mut judged = None;
        for timeout in [1, 5, 25] {
            let one = looks(&runner(address, SignedDuration::from_secs(timeout), 1)?, 1).await?;
            let done = one.state != State::Dead;
            judged = Some(one);
            if done {
                break;
            }
        }
        let judged = judged.expect("a look");
        assert_eq!(judged.state, State::Unknown, "{}", judged.sentence);
        assert!(judged.sentence.contains("a page began, and then: no answer within"), "{}", judged.sentence);
    }
    Ok(())
}

/// A process that hangs accepts connections still: its kernel does.
#[tokio::test]
async fn who_says_nothing_several_times_is_dead() -> Result<()> {
    let (silent, _) = somebody((Vec::new(), End::Open)).await?;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listener.local_addr()?
    };
    for (address, said) in [(silent, "no answer within 0.1 s"), (nobody, "onnection refused")] {
        let runner = runner(address, SignedDuration::from_millis(100), 3)?;
        let early = looks(&runner, 2).await?;
        assert_eq!(early.state, State::Unknown, "{}", early.sentence);
        let judged = looks(&runner, 3).await?;
        assert_eq!(judged.state, State::Dead, "{}", judged.sentence);
        assert!(judged.sentence.contains(said), "{}", judged.sentence);
    }
    Ok(())
}
