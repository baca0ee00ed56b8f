//! One line of a story, word by word, and what is wrong with it.

use std::{fmt, str::FromStr};

use crate::model::SignedDuration;

/// No story lasts longer, and no clock jumps further.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// One thing that is wrong with a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

/// All that is wrong with a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

pub(super) type Parsed<T> = Result<T, Problem>;

/// The words of one line that have not been read yet.
pub(super) struct Words<'a> {
    pub(super) line: usize,
    text: &'a str,
    words: Vec<(usize, &'a str)>,
    next: usize,
}

impl<'a> Words<'a> {
    /// Comments are cut off; `#` begins one at the start of a word.
    pub(super) fn new(line: usize, text: &'a str) -> Self {
        let mut words = Vec::new();
        let mut rest = 0;
        for word in text.split_whitespace() {
            let at = rest + text[rest..].find(word).unwrap_or(0);
            rest = at + word.len();
            if word.starts_with('#') {
                break;
            }
            words.push((at, word));
        }
        Self { line, text, words, next: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next >= self.words.len()
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(|(_, word)| *word)
    }

    fn problem_at(&self, word: usize, what: impl Into<String>) -> Problem {
        let byte = match self.words.get(word) {
            Some((at, _)) => *at,
            None => self.words.last().map_or(0, |(at, word)| at + word.len()),
        };
        Problem { line: self.line, column: self.text[..byte].chars().count() + 1, what: what.into() }
    }

    /// A problem with the word read last.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        self.problem_at(self.next.saturating_sub(1), what)
    }

    /// The column of the word read last, from 1.
    pub(super) fn column(&self) -> usize {
        self.problem("").column
    }

    /// The next word; `what` says what it should be.
    pub(super) fn word(&mut self, what: &str) -> Parsed<&'a str> {
        let Some((_, word)) = self.words.get(self.next) else {
            return Err(self.problem_at(self.next, format!("something is missing here: {what}")));
        };
        self.next += 1;
        Ok(word)
    }

    /// Takes the next word when it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.next += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, word: &str) -> Parsed<()> {
        self.choose(&[word]).map(|_| ())
    }

    /// One of these words.
    pub(super) fn choose<'k>(&mut self, allowed: &[&'k str]) -> Parsed<&'k str> {
        let all = allowed.join(", ");
        let word =
            self.word(&if allowed.len() == 1 { format!("`{all}`") } else { format!("one of {all}") })?;
        allowed.iter().find(|a| **a == word).copied().ok_or_else(|| {
            let near = allowed.iter().find(|a| strsim::osa_distance(a, word) <= 2);
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            if allowed.len() == 1 {
                self.problem(format!("`{word}`: `{all}` is expected here"))
            } else {
                self.problem(format!("`{word}` is not known here; {near}allowed: {all}"))
            }
        })
    }

    pub(super) fn parse<T>(&mut self, what: &str) -> Parsed<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let word = self.word(what)?;
        word.parse().map_err(|error| self.problem(format!("`{word}` is not {what}: {error}")))
    }

    /// A duration in one word, such as `90s` or `1h30m`.
    pub(super) fn duration(&mut self) -> Parsed<SignedDuration> {
        let word = self.word("a duration such as 90s, 10m or 1h30m")?;
        let duration: SignedDuration = word.parse().map_err(|_| {
            self.problem(format!("`{word}` is not a duration: write one word such as 90s, 10m or 1h30m"))
        })?;
        if duration.abs() > LONGEST {
            return Err(self.problem(format!("`{word}` is too long: at most {LONGEST:#}")));
        }
        Ok(duration)
    }

    /// A duration that is not negative.
    pub(super) fn lasting(&mut self) -> Parsed<SignedDuration> {
        let duration = self.duration()?;
        if duration.is_negative() {
            return Err(self.problem("a duration that is not negative is expected here"));
        }
        Ok(duration)
    }

    /// A percentage such as `30%`.
    pub(super) fn percent(&mut self) -> Parsed<u8> {
        let word = self.word("a percentage such as 30%")?;
        word.strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|percent| (1..=100).contains(percent))
            .ok_or_else(|| self.problem(format!("`{word}` is not a percentage: write 1% to 100%")))
    }

    /// All words that are left, as they were written.
    pub(super) fn ahead(&self) -> &'a str {
        let from = self.words.get(self.next).map(|(at, _)| *at);
        let to = self.words.last().map_or(0, |(at, word)| at + word.len());
        from.map_or("", |from| &self.text[from..to])
    }

    /// Takes all words that are left.
    pub(super) fn rest(&mut self) -> &'a str {
        let ahead = self.ahead();
        self.next = self.words.len();
        ahead
    }

    /// Nothing may be left.
    pub(super) fn end(&mut self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(word) => {
                self.next += 1;
                Err(self.problem(format!("`{word}` is too much: the line should end here")))
            }
        }
    }
}
