//! Text from other machines and from files: names, reasons, comments. [`Untrusted`] displays it
//! such that it can neither change the state of a terminal nor look like another line or name.
//!
//! This is the only place that decides which characters are escaped. Names on a disk are validated
//! in [`crate::path`] and keep their bytes.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

/// Displays a text of unknown origin in one line: characters that [`is_unprintable`] names are
/// escaped as in Rust, `\n` or `\u{1b}`.
///
/// ```
/// use sow_content::untrusted::Untrusted;
///
/// let name = "a\u{1b}[2J\nb\u{202e}txt.exe";
/// assert_eq!(Untrusted(name).to_string(), r"a\u{1b}[2J\nb\u{202e}txt.exe");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untrusted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Whether a character can change the state of a terminal, end a line, change the direction of the
/// text or hide: control characters (C0, DEL, C1), line and paragraph separators, bidirectional
/// formatting, characters of no width, and tags.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text in one line, as [`Untrusted`] displays it.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_unprintable) {
        true => Cow::Owned(Untrusted(text).to_string()),
        false => Cow::Borrowed(text),
    }
}

/// At most `max_chars` characters of a text for logs; each one that [`is_unprintable`] names is
/// replaced, so that the text does not grow.
pub fn replaced(bytes: &[u8], max_chars: usize) -> String {
    // A character has at most four bytes.
    let head = &bytes[..bytes.len().min(max_chars.saturating_mul(4))];
    String::from_utf8_lossy(head).chars().take(max_chars).map(replacement).collect()
}

/// The character itself, or U+FFFD for one that [`is_unprintable`] names.
pub fn replacement(c: char) -> char {
    if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// The first 80 characters of a text, as [`Untrusted`] displays them: for error messages.
pub fn excerpt(text: &str) -> String {
    const MAX_EXCERPT_CHARS: usize = 80;
    let short: String = text.chars().take(MAX_EXCERPT_CHARS).collect();
    printable(&short).into_owned()
}

/// A name as [`Untrusted`] displays it; of one with more than 80 characters the start, the end and
/// the length.
pub fn short_name(name: &str) -> String {
    const MAX_NAME_CHARS: usize = 80;
    const END_CHARS: usize = 20;
    let count = name.chars().count();
    if count <= MAX_NAME_CHARS {
        return printable(name).into_owned();
    }
    let start: String = name.chars().take(MAX_NAME_CHARS - 2 * END_CHARS).collect();
    let end: String = name.chars().skip(count - END_CHARS).collect();
    format!("{}…{} ({} bytes)", Untrusted(start), Untrusted(end), name.len())
}

/// Escapes what is written to it.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unprintable) {
            let (clean, tail) = rest.split_at(at);
            self.0.write_str(clean)?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_steer_a_terminal_end_a_line_or_hide_are_escaped() {
        assert_eq!(printable("plain ü 日本 👍"), "plain ü 日本 👍");
        assert_eq!(printable("a\x1b[31m\n"), r"a\u{1b}[31m\n");
        assert_eq!(printable("exe.\u{202e}txt"), r"exe.\u{202e}txt");
        let escaped = ['\0', '\x07', '\r', '\t', '\x7f', '\u{85}', '\u{9b}', '\u{61c}', '\u{feff}']
            .into_iter()
            .chain('\u{200b}'..='\u{200f}')
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}');
        for c in escaped {
            let shown = Untrusted(c).to_string();
            assert!(shown.is_ascii() && shown.starts_with('\\'), "{c:?}: {shown:?}");
            assert_eq!(replacement(c), char::REPLACEMENT_CHARACTER);
        }
        assert_eq!(Untrusted(format_args!("{}\n{}", 1, "\u{2028}")).to_string(), r"1\n\u{2028}");
    }

    #[test]
    fn replaced_text_is_bounded_and_does_not_grow() {
        assert_eq!(replaced(b"\x1b[2J\xff", 80), "\u{fffd}[2J\u{fffd}");
        assert_eq!(replaced("ü".repeat(100).as_bytes(), 64), "ü".repeat(64));
        assert_eq!(excerpt(&"x".repeat(100)).len(), 80);
        assert_eq!(short_name("a\n.iso"), r"a\n.iso");
        let name = short_name(&("x".repeat(300) + ".iso"));
        assert!(name.starts_with("xxx") && name.ends_with("xxx.iso (304 bytes)"), "{name}");
    }
}
