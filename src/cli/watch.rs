//! Following a move: how far it is, until it ends.

use std::{
    io::{IsTerminal, Write as _},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;

use super::{
    Exit,
    client::{Client, Failure, sentence},
    show,
};
use crate::model::one_line;

const PERIOD: Duration = Duration::from_millis(500);

/// How long nobody may answer before a move is no longer followed: longer than another leader takes to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// Progress is for eyes: it goes to standard error, as one line that changes on a terminal, otherwise as a line for every
/// change.
struct Screen {
    live: bool,
    shown: String,
}

impl Screen {
    fn new() -> Self {
        Self { live: std::io::stderr().is_terminal(), shown: String::new() }
    }

    /// Shows how far it is; time alone is no change worth a line of its own.
    fn show(&mut self, what: &str, seconds: f64) {
        let what = one_line(what);
        let mut out = std::io::stderr();
        if self.live {
            // In one piece, the time first: a line that is too long is cut off at the edge and not wrapped.
            let line = format!("\r\x1b[?7l  {seconds:.0} s  {what}\x1b[K\x1b[?7h");
            let _ = out.write_all(line.as_bytes());
            let _ = out.flush();
        } else if self.shown != *what {
            let _ = writeln!(out, "  {what}, {seconds:.1} s");
        }
        self.shown = what.into_owned();
    }

    /// Says something beside how far it is, which is shown anew afterwards.
    fn remark(&mut self, what: &str) {
        let before = if self.live && !self.shown.is_empty() { "\n" } else { "" };
        let _ = writeln!(std::io::stderr(), "{before}  {}", one_line(what));
        self.shown.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live && !self.shown.is_empty() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Asks until somebody answers: the move goes on while its server is started again or another one takes the lead.
async fn asked(
    patience: Duration,
    screen: &mut Screen,
    ask: impl AsyncFn() -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let mut silent: Option<Instant> = None;
    loop {
        let text = match ask().await {
            Err(Failure::Away { text, .. }) => text,
            answer => return answer,
        };
        let since = *silent.get_or_insert_with(|| {
            screen.remark(&format!("cannot ask: {text}; trying again for {} s", patience.as_secs()));
            Instant::now()
        });
        if since.elapsed() >= patience {
            return Err(Failure::Away { text, problem: None, sent: true }.lost());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn get(client: &Client, path: &str, screen: &mut Screen) -> Result<Value, Failure> {
    asked(PATIENCE, screen, async || client.send(Method::GET, path, None).await).await
}

/// Follows what is under way for a fleet, from whatever terminal it was begun: a move, a request that waits for a drain, a
/// proposal that waits for a person.
pub(super) async fn watch(client: &Client, fleet: &str) -> Result<Exit, Failure> {
    let path = format!("/api/v1/fleets/{fleet}");
    let mut screen = Screen::new();
    // Patience is for who has answered once.
    let mut fleet = client.send(Method::GET, &path, None).await?;
    loop {
        let generation = fleet["generation"].as_u64().unwrap_or_default();
        if fleet["moving"] == true {
            drop(screen);
            return follow(client, &path, generation).await;
        }
        if let Some(request) = fleet.pointer("/waiting/request").and_then(Value::as_i64) {
            drop(screen);
            return wait(client, &path, request).await;
        }
        let Some(proposal) = fleet.get("proposal").filter(|proposal| !proposal.is_null()) else {
            client.print(&fleet, |fleet| show::head(fleet).join("\n"));
            return Ok(Exit::Done);
        };
        let what = format!(
            "proposal {}: {} to {} waits for a person until {}",
            proposal["id"],
            text(proposal, "/kind").unwrap_or_default(),
            text(proposal, "/to").unwrap_or_default(),
            text(proposal, "/until").unwrap_or_default()
        );
        screen.show(&warned(&fleet, what), since(proposal, "/at"));
        tokio::time::sleep(PERIOD).await;
        fleet = get(client, &path, &mut screen).await?;
    }
}

/// Follows a move until it was seen done, failed, or another decision took its place.
pub(super) async fn follow(client: &Client, path: &str, generation: u64) -> Result<Exit, Failure> {
    let mut screen = Screen::new();
    loop {
        let fleet = get(client, path, &mut screen).await.map_err(Failure::lost)?;
        let now = fleet["generation"].as_u64().unwrap_or_default();
        if now > generation {
            return Err(Failure::Failed(format!(
                "generation {now} took the place of {generation}; see the history"
            )));
        }
        if now == generation {
            screen.show(
                &progress(&fleet),
                fleet.pointer("/progress/elapsed").and_then(Value::as_f64).unwrap_or(0.0),
            );
        }
        match text(&fleet, "/decision/state") {
            Some("done") if now == generation => {
                drop(screen);
                client.print(&fleet, sentence);
                return Ok(Exit::Done);
            }
            Some("failed") if now == generation => return Err(Failure::Failed(sentence(&fleet))),
            _ => {}
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Follows a request that waits, for a pass to judge it or for a drain, until it is answered, and then the move, if there is
/// one.
pub(super) async fn wait(client: &Client, path: &str, request: i64) -> Result<Exit, Failure> {
    let mut screen = Screen::new();
    loop {
        let record =
            get(client, &format!("/api/v1/requests/{request}"), &mut screen).await.map_err(Failure::lost)?;
        if let Some(outcome) = text(&record, "/outcome") {
            drop(screen);
            if let Some(generation) = record["generation"].as_u64() {
                return follow(client, path, generation).await;
            }
            if outcome == "steady" {
                client.print(&record, sentence);
                return Ok(Exit::Done);
            }
            let (held, text) = (outcome.starts_with("held:"), sentence(&record));
            return Err(Failure::Refused { held, text, problem: record });
        }
        let fleet = get(client, path, &mut screen).await.map_err(Failure::lost)?;
        let drains = fleet.pointer("/waiting/request").and_then(Value::as_i64) == Some(request);
        let (what, at) = if drains {
            let count = fleet["in_flight"].as_u64().map_or("unknown".to_owned(), |count| count.to_string());
            let until = text(&fleet, "/waiting/until").unwrap_or("answered");
            let what = format!("drain: pipelines in flight {count}, waits until {until}");
            (what, since(&fleet, "/waiting/since"))
        } else {
            (format!("request {request} waits for the pass that judges it"), since(&record, "/at"))
        };
        screen.show(&warned(&fleet, what), at);
        tokio::time::sleep(PERIOD).await;
    }
}

fn since(value: &Value, pointer: &str) -> f64 {
    let at = text(value, pointer).and_then(|at| at.parse::<jiff::Timestamp>().ok());
    at.map_or(0.0, |at| crate::world::Live::clock().duration_since(at).as_secs_f64().max(0.0))
}

/// Progress that is old shows that.
fn warned(fleet: &Value, line: String) -> String {
    show::warnings(fleet).fold(line, |line, warning| format!("{line}; warning: {warning}"))
}

fn progress(fleet: &Value) -> String {
    let number =
        |key: &str| fleet.pointer(&format!("/progress/{key}")).and_then(Value::as_u64).unwrap_or_default();
    let phase = text(fleet, "/progress/phase").unwrap_or("looking");
    let mut line = format!("{phase}: runners {}/{}", number("runners_moved"), number("runners"));
    if number("dns_servers") > 0 {
        line = format!("{line}, DNS servers {}/{}", number("dns_agreeing"), number("dns_servers"));
        // Else a move that is done with fewer than all would look as if it were not.
        if number("dns_unreachable") > 0 {
            line = format!("{line} ({} cannot be asked)", number("dns_unreachable"));
        }
    }
    if let Some(waiting) = text(fleet, "/progress/waiting") {
        line = format!("{line}, waiting for {waiting}");
    }
    warned(fleet, line)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        time::Duration,
    };

    use serde_json::{Value, json};

    use super::{Failure, Screen, asked};

    #[tokio::test]
    async fn whoever_does_not_answer_is_asked_again_and_is_no_failed_move() {
        let away = || Failure::Away { text: "502 Bad Gateway".to_owned(), problem: None, sent: true };
        let mut screen = Screen::new();
        let answers: RefCell<Vec<Result<Value, Failure>>> =
            RefCell::new(vec![Ok(json!("late")), Err(away()), Err(away())]);
        let next = async || answers.borrow_mut().pop().expect("there is one more");
        let answer = asked(Duration::MAX, &mut screen, next).await;
        assert!(matches!(&answer, Ok(answer) if *answer == json!("late")));
        // Some time it is enough, and nobody says that the move has failed.
        let tries = Cell::new(0);
        let never = async || {
            tries.set(tries.get() + 1);
            Err(away())
        };
        let Err(Failure::Lost { text, .. }) = asked(Duration::ZERO, &mut screen, never).await else {
            panic!()
        };
        assert!(text.starts_with("502 Bad Gateway; what was asked for may go on"), "{text}");
        assert_eq!(tries.get(), 1);
        // What is an answer is not asked for again.
        let refused = async || Err(Failure::Failed("404 Not Found".to_owned()));
        assert!(matches!(asked(Duration::MAX, &mut screen, refused).await, Err(Failure::Failed(_))));
    }

    #[test]
    fn progress_names_phase_runners_and_servers() {
        let fleet = json!({"progress": {"phase": "switch", "waiting": null, "runners_moved": 2, "runners": 4,
            "dns_agreeing": 1, "dns_servers": 2, "elapsed": 3.2}});
        assert_eq!(super::progress(&fleet), "switch: runners 2/4, DNS servers 1/2");
        let fleet = json!({"progress": {"phase": "done", "waiting": null, "runners_moved": 4, "runners": 4,
            "dns_agreeing": 1, "dns_servers": 2, "dns_unreachable": 1}});
        assert_eq!(super::progress(&fleet), "done: runners 4/4, DNS servers 1/2 (1 cannot be asked)");
        let fleet = json!({"progress": {"phase": "verify", "waiting": "a runner", "runners_moved": 4, "runners": 4,
            "dns_agreeing": 0, "dns_servers": 0}});
        assert_eq!(super::progress(&fleet), "verify: runners 4/4, waiting for a runner");
    }
}
