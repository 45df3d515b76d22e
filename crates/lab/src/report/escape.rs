//! Escapes texts for HTML and SVG. What is escaped is decided by `canvas`, `table` and `page`.

/// A text that is safe in HTML or SVG, inside an attribute or outside. Characters that XML cannot
/// hold become spaces.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' => safe.push('\n'),
            _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_are_escaped() {
        assert_eq!(escaped("<script>\"&\"\u{1b}[0m\u{0}"), "&lt;script&gt;&quot;&amp;&quot; [0m ");
    }
}
