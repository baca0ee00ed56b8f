//! The terminal: story lines that stay, and below them one live line.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Once,
    time::Instant,
};

use anyhow::Result;
use crossterm::{
    cursor::MoveToColumn,
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    queue,
    style::Print,
    terminal::{self, Clear, ClearType},
};
use futures::StreamExt as _;

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Kill,
    Revive,
    Failback,
    Quit,
}

/// Where the story is told. With a terminal, keys are read one by one until it is dropped.
pub(crate) struct Screen {
    start: Instant,
    keys: Option<EventStream>,
    live: bool,
}

impl Screen {
    /// `alone`: nobody is there to press keys.
    pub(crate) fn open(alone: bool) -> Result<Self> {
        let live = io::stdout().is_terminal();
        let keys = if live && !alone && io::stdin().is_terminal() {
            restore_on_panic();
            terminal::enable_raw_mode()?;
            Some(EventStream::new())
        } else {
            None
        };
        Ok(Self { start: Instant::now(), keys, live })
    }

    /// Whether somebody can press keys.
    pub(crate) fn attended(&self) -> bool {
        self.keys.is_some()
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A line that stays, with the time. Broken lines are indented below it.
    pub(crate) fn tell(&mut self, text: &str) -> Result<()> {
        let text = text.trim_end().replace('\n', "\n          ");
        self.print(&format!("{:6.1} s  {text}", self.seconds()))
    }

    /// A line that stays, as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.live {
            queue!(out, MoveToColumn(0), Clear(ClearType::CurrentLine))?;
        }
        // In raw mode a line feed does not return the carriage.
        write!(out, "{}\r\n", text.replace('\n', "\r\n"))?;
        Ok(out.flush()?)
    }

    /// Replaces the live line. It is cut where the terminal ends, because a wrapped line cannot be replaced.
    pub(crate) fn show(&mut self, text: &str) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        // Some terminals do not know their width and say 0.
        let width = terminal::size().map_or(0, |(columns, _)| usize::from(columns));
        let width = if width == 0 { 79 } else { width - 1 };
        let line: String = format!("{:6.1} s  {text}", self.seconds()).chars().take(width).collect();
        let mut out = io::stdout().lock();
        queue!(out, MoveToColumn(0), Clear(ClearType::CurrentLine), Print(line))?;
        Ok(out.flush()?)
    }

    /// The next wish. Without a terminal there is none, ever.
    pub(crate) async fn wish(&mut self) -> Wish {
        let Some(keys) = &mut self.keys else { return std::future::pending().await };
        loop {
            let Some(event) = keys.next().await else { return Wish::Quit };
            let Ok(Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. })) = event else {
                continue;
            };
            match code {
                // Raw mode hands the interrupt over as a key.
                KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Wish::Quit,
                KeyCode::Char('k') => return Wish::Kill,
                KeyCode::Char('r') => return Wish::Revive,
                KeyCode::Char('f') => return Wish::Failback,
                KeyCode::Char('q') => return Wish::Quit,
                _ => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            let _ = queue!(io::stdout(), MoveToColumn(0), Clear(ClearType::CurrentLine));
            let _ = io::stdout().flush();
        }
        if self.keys.is_some() {
            let _ = terminal::disable_raw_mode();
        }
    }
}

/// The message of a panic must be readable.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = terminal::disable_raw_mode();
            before(panic);
        }));
    });
}
