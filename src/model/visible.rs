//! Text of others as people may be shown it: a terminal acts on some characters instead of showing them.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character controls the terminal, the lines or the direction of writing, and is not seen itself.
pub fn is_control(c: char) -> bool {
    let directs =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A value on its line: what is not seen is written out, a line break as `\n`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    written_out(text, is_control)
}

/// The same for a text of several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| is_control(c) && c != '\n' && c != '\t')
}

fn written_out(text: &str, is: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        let told = "gr\u{fc}n \u{1b}[2J\u{9b}1m\r\nbell\u{7}\u{7f} \u{202e}kcatta\u{2066}\u{2028}\ttab \\n";
        let wanted = r"grün \u{1b}[2J\u{9b}1m\r\nbell\u{7}\u{7f} \u{202e}kcatta\u{2066}\u{2028}\ttab \n";
        assert_eq!(one_line(told), wanted);
        assert_eq!(lines("two\nlines\tand \u{1b}c"), "two\nlines\tand \\u{1b}c");
        let plain = "e\u{301} \u{1f469}\u{200d}\u{1f680} 日本語";
        assert!(matches!(one_line(plain), Cow::Borrowed(text) if text == plain));
    }
}
