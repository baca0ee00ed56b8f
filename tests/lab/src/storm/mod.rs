//! Storms: random stories, and the smallest story that still goes wrong.

mod make;

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use switchyard::simulate::{Parts, PlayError, Report, parse, play_with};

pub use make::story;

/// Plays a story as text.
///
/// # Errors
/// When it cannot be played; a story that cannot be read is a bug of whoever wrote it.
pub async fn play_text(text: &str, parts: &Parts) -> Result<Report, PlayError> {
    let story = parse(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    play_with(&story, parts).await
}

/// The promises that a story breaks; none when it cannot be read.
async fn breaks(text: &str, parts: &Parts) -> Vec<u8> {
    let Ok(story) = parse(text) else { return Vec::new() };
    match play_with(&story, parts).await {
        Ok(report) => report.broken.iter().map(|broken| broken.promise).collect(),
        Err(_) => Vec::new(),
    }
}

/// A story that breaks `promise` without any line, or any two lines, that could be left out.
pub async fn shrink(text: &str, promise: u8, parts: &Parts) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    loop {
        let before = lines.len();
        for at in (0..before).rev() {
            if let Some(fewer) = without(&lines, &[at], promise, parts).await {
                lines = fewer;
            }
        }
        // What is broken and mended again goes together.
        if lines.len() == before {
            let pairs = (0..before).flat_map(|one| (0..one).map(move |other| [one, other]));
            for pair in pairs {
                if let Some(fewer) = without(&lines, &pair, promise, parts).await {
                    lines = fewer;
                    break;
                }
            }
        }
        if lines.len() == before {
            return lines.join("\n") + "\n";
        }
    }
}

/// The lines without these, if they still break the promise.
async fn without(lines: &[String], left_out: &[usize], promise: u8, parts: &Parts) -> Option<Vec<String>> {
    let left = lines.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
    let fewer: Vec<String> = left.map(|(_, line)| line.clone()).collect();
    breaks(&fewer.join("\n"), parts).await.contains(&promise).then_some(fewer)
}

/// Plays the storm of a seed: its report, or a minimal story that breaks a promise, with its transcript.
///
/// # Errors
/// The text to show.
pub async fn storm(seed: u64) -> Result<Report, String> {
    storm_with(seed, &Parts::default()).await
}

/// The same with these parts, which may be broken.
///
/// # Errors
/// The text to show.
pub async fn storm_with(seed: u64, parts: &Parts) -> Result<Report, String> {
    let text = story(seed);
    let report = play_text(&text, parts).await.map_err(|error| format!("{error:?}\n{text}"))?;
    let Some(broken) = report.broken.first() else { return Ok(report) };
    let small = shrink(&text, broken.promise, parts).await;
    let told = play_text(&small, parts).await.map(|report| report.to_string()).unwrap_or_default();
    Err(format!(
        "storm {seed} breaks {broken}\n\n--- a story for tests/stories:\n{small}\n--- its transcript:\n{told}"
    ))
}

/// Plays the storms of these seeds on so many threads and hands over each as it comes; ends when nobody takes them any more.
///
/// A storm asks its database thousands of times, and each time two threads wait for each other: together on one processor
/// they take two thirds of the time.
///
/// # Errors
/// When a thread cannot have what it needs.
pub fn many(
    seeds: impl Iterator<Item = u64> + Send + 'static,
    threads: usize,
) -> io::Result<mpsc::Receiver<Result<Report, String>>> {
    let allowed = sched_getaffinity(None)?;
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|n| allowed.is_set(*n)).collect();
    let seeds = std::sync::Arc::new(Mutex::new(seeds));
    let (sender, storms) = mpsc::channel();
    for thread in 0..threads {
        let (sender, seeds) = (sender.clone(), seeds.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let processor = processors.get(thread % processors.len().max(1)).copied();
        std::thread::Builder::new().spawn(move || {
            if let Some(processor) = processor {
                let mut own = CpuSet::new();
                own.set(processor);
                // Refused, it only takes longer.
                let _ = sched_setaffinity(None, &own);
            }
            loop {
                let seed = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(seed) = seed else { return };
                if sender.send(runtime.block_on(storm(seed))).is_err() {
                    return;
                }
            }
        })?;
    }
    Ok(storms)
}
